//! What a component is made of, counted before a compiler sees it.
//!
//! Compiling cannot be interrupted, and its cost is not bounded by a component's size: a kilobyte of
//! components that each instantiate the one before twice has a billion instances, components within
//! components cost their depth squared, and a compiler may need minutes for one giant function. So
//! these are counted first, by walking over the sections once; everything else is left to the
//! validator. What this walk does not understand is refused.

/// Components within components. What tools make has two or three levels.
const DEPTH_MAX: usize = 32;
/// Instances of components and core modules, those within instances counted each time. The pool
/// takes `Limits::INSTANCES_MAX` core instances; shims and adapters are instances too.
const INSTANCES_MAX: u64 = 10_000;
/// Functions of all core modules. An interpreter of Python has some ten thousand.
const FUNCTIONS_MAX: u64 = 100_000;
/// Bytes of one function. The main loop of an interpreter has some hundred KiB.
const FUNCTION_BYTES_MAX: usize = 1 << 20;

/// Why a component is not even compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CensusError {
    /// It is no component that this walk understands.
    Unreadable,
    /// It needs this, which is more than there may be.
    TooMuch(String),
}

/// # Errors
/// See [`CensusError`].
pub(super) fn check(wasm: &[u8]) -> Result<(), CensusError> {
    let mut census = Census { functions: 0, enclosing: Vec::new() };
    let instances = census.component(wasm)?;
    if instances > INSTANCES_MAX {
        return Err(too_much(format!("{instances} instances; it may have {INSTANCES_MAX}")));
    }
    Ok(())
}

fn too_much(what: String) -> CensusError {
    CensusError::TooMuch(what)
}

struct Census {
    functions: u64,
    /// For each component around the present place, outermost first: how many instances one
    /// instance of each component in its index space stands for.
    enclosing: Vec<Vec<u64>>,
}

type Counted<T> = Result<T, CensusError>;

const HEADER_BYTES: usize = 8;
/// Sorts of things that have indices, as aliases and exports name them.
const SORT_CORE: u8 = 0x00;
const SORT_COMPONENT: u8 = 0x04;

impl Census {
    /// How many instances one instance of this component is, itself included.
    fn component(&mut self, wasm: &[u8]) -> Counted<u64> {
        if self.enclosing.len() >= DEPTH_MAX {
            return Err(too_much(format!(
                "components within components, more than {DEPTH_MAX} deep"
            )));
        }
        self.enclosing.push(Vec::new());
        let mut instances = 1_u64;
        let mut sections = Reader(wasm.get(HEADER_BYTES..).ok_or(CensusError::Unreadable)?);
        while !sections.is_empty() {
            let (id, mut content) = (sections.byte()?, sections.sized()?);
            match id {
                1 => self.module(content.0)?,
                // Each is one, whether it instantiates a module or only gathers exports.
                2 => instances = instances.saturating_add(content.number()?),
                4 => {
                    let within = self.component(content.0)?;
                    self.here()?.push(within);
                }
                5 => instances = instances.saturating_add(self.instances(&mut content)?),
                6 => self.aliases(&mut content)?,
                10 => imports(&mut content)?,
                11 => self.exports(&mut content)?,
                _ => {}
            }
        }
        self.enclosing.pop();
        Ok(instances)
    }

    fn here(&mut self) -> Counted<&mut Vec<u64>> {
        self.enclosing.last_mut().ok_or(CensusError::Unreadable)
    }

    fn instances(&mut self, content: &mut Reader<'_>) -> Counted<u64> {
        let mut sum = 0_u64;
        for _ in 0..content.number()? {
            match content.byte()? {
                0x00 => {
                    let of = self.here()?.get(content.index()?).ok_or(CensusError::Unreadable)?;
                    sum = sum.saturating_add(*of);
                    for _ in 0..content.number()? {
                        content.sized()?;
                        content.sort()?;
                        content.number()?;
                    }
                }
                0x01 => {
                    sum = sum.saturating_add(1);
                    for _ in 0..content.number()? {
                        content.extern_name()?;
                        content.sort()?;
                        content.number()?;
                    }
                }
                _ => return Err(CensusError::Unreadable),
            }
        }
        Ok(sum)
    }

    fn aliases(&mut self, content: &mut Reader<'_>) -> Counted<()> {
        for _ in 0..content.number()? {
            let sort = content.sort()?;
            match content.byte()? {
                0x00 | 0x01 => {
                    content.number()?;
                    content.sized()?;
                    if sort == SORT_COMPONENT {
                        return Err(component_from_elsewhere());
                    }
                }
                0x02 => {
                    let (level, index) = (content.index()?, content.index()?);
                    if sort == SORT_COMPONENT {
                        let around = self.enclosing.iter().rev().nth(level);
                        let known = around.and_then(|components| components.get(index)).copied();
                        self.here()?.push(known.ok_or(CensusError::Unreadable)?);
                    }
                }
                _ => return Err(CensusError::Unreadable),
            }
        }
        Ok(())
    }

    /// An export is a new index of what it exports.
    fn exports(&mut self, content: &mut Reader<'_>) -> Counted<()> {
        for _ in 0..content.number()? {
            content.extern_name()?;
            let (sort, index) = (content.sort()?, content.index()?);
            if content.byte()? != 0 {
                content.extern_kind()?;
            }
            if sort == SORT_COMPONENT {
                let components = self.here()?;
                let exported = *components.get(index).ok_or(CensusError::Unreadable)?;
                components.push(exported);
            }
        }
        Ok(())
    }

    fn module(&mut self, wasm: &[u8]) -> Counted<()> {
        let mut sections = Reader(wasm.get(HEADER_BYTES..).ok_or(CensusError::Unreadable)?);
        while !sections.is_empty() {
            let (id, mut content) = (sections.byte()?, sections.sized()?);
            if id != 10 {
                continue;
            }
            let functions = content.number()?;
            self.functions = self.functions.saturating_add(functions);
            if self.functions > FUNCTIONS_MAX {
                let count = self.functions;
                return Err(too_much(format!("{count} functions; it may have {FUNCTIONS_MAX}")));
            }
            for _ in 0..functions {
                let bytes = content.sized()?.0.len();
                if bytes > FUNCTION_BYTES_MAX {
                    return Err(too_much(format!(
                        "a function of {bytes} bytes; one may have {FUNCTION_BYTES_MAX}"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn imports(content: &mut Reader<'_>) -> Counted<()> {
    for _ in 0..content.number()? {
        content.extern_name()?;
        if content.extern_kind()? == SORT_COMPONENT {
            return Err(component_from_elsewhere());
        }
    }
    Ok(())
}

/// What such a component holds is known only when all is put together, so it could not be counted.
/// No tool makes them.
fn component_from_elsewhere() -> CensusError {
    too_much(
        "a component as an import, or out of an instance, which this host does not offer".into(),
    )
}

/// The rest of what is read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> Counted<u8> {
        let (first, rest) = self.0.split_first().ok_or(CensusError::Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    /// LEB128, up to 32 bits.
    fn number(&mut self) -> Counted<u64> {
        let mut number = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CensusError::Unreadable)
    }

    fn index(&mut self) -> Counted<usize> {
        usize::try_from(self.number()?).map_err(|_| CensusError::Unreadable)
    }

    /// A length, and so many bytes: a section, a name or a function.
    fn sized(&mut self) -> Counted<Reader<'a>> {
        let length = self.index()?;
        let (content, rest) = self.0.split_at_checked(length).ok_or(CensusError::Unreadable)?;
        self.0 = rest;
        Ok(Reader(content))
    }

    fn extern_name(&mut self) -> Counted<()> {
        match self.byte()? {
            0x00 | 0x01 => self.sized().map(drop),
            _ => Err(CensusError::Unreadable),
        }
    }

    /// The sort of a thing; of the core's, only that it is one.
    fn sort(&mut self) -> Counted<u8> {
        let sort = self.byte()?;
        if sort == SORT_CORE {
            self.byte()?;
        }
        Ok(sort)
    }

    /// What an import or an export is said to be; its sort.
    fn extern_kind(&mut self) -> Counted<u8> {
        let sort = self.byte()?;
        match sort {
            // A core module: its sort, and a type.
            SORT_CORE => {
                self.byte()?;
                self.number()?;
            }
            0x01 | SORT_COMPONENT | 0x05 => {
                self.number()?;
            }
            // A type: the same as another, or one of its own.
            0x03 => {
                if self.byte()? == 0 {
                    self.number()?;
                }
            }
            _ => return Err(CensusError::Unreadable),
        }
        Ok(sort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tests::wat::{binary, plugin};

    fn counted(text: &str) -> Result<u64, CensusError> {
        Census { functions: 0, enclosing: Vec::new() }.component(&binary(text))
    }

    #[test]
    fn instances_are_counted_as_often_as_they_are_made() {
        assert_eq!(counted("(component)"), Ok(1));
        let one = "(component $a (core module $m) (core instance (instantiate $m)))";
        assert_eq!(counted(&format!("(component {one})")), Ok(1));
        assert_eq!(counted(&format!("(component {one} (instance (instantiate $a)))")), Ok(3));
        let twice =
            format!("(component $b {one} (instance (instantiate $a)) (instance (instantiate $a)))");
        assert_eq!(counted(&format!("(component {twice} (instance (instantiate $b)))")), Ok(6));
        // Named from further in, and by an export.
        let outer = format!(
            "(component {one} (component $b (instance (instantiate $a))) (instance (instantiate $b)))"
        );
        assert_eq!(counted(&outer), Ok(1 + 1 + 2));
        let exported = format!(
            "(component {one} (export $e \"a\" (component $a)) (instance (instantiate $e)))"
        );
        assert_eq!(counted(&exported), Ok(3));
    }

    #[test]
    fn doublings_are_refused_at_once() {
        let mut text = "(component $c0)".to_owned();
        for level in 1..=30 {
            let below = level - 1;
            text = format!(
                "(component $c{level} {text} (instance (instantiate $c{below})) (instance (instantiate $c{below})))"
            );
        }
        let said = check(&binary(&text)).unwrap_err();
        assert_eq!(said, too_much("2147483647 instances; it may have 10000".into()));
    }

    #[test]
    fn a_component_that_comes_from_elsewhere_is_refused() {
        for text in [
            "(component (import \"a\" (component)))",
            "(component (import \"a\" (instance $i (export \"b\" (component)))) \
              (alias export $i \"b\" (component $b)))",
        ] {
            assert_eq!(counted(text), Err(component_from_elsewhere()), "{text}");
        }
    }

    #[test]
    fn every_end_of_a_component_is_unreadable_or_whole() {
        let whole = plugin("(func $f (param i32))", "i32.const 1024", "");
        assert_eq!(check(&whole), Ok(()));
        for length in 0..whole.len() {
            // Between two sections it is a whole component of fewer parts.
            assert!(matches!(check(&whole[..length]), Ok(()) | Err(CensusError::Unreadable)));
        }
    }

    #[test]
    fn whatever_it_is_it_ends() {
        proptest::proptest!(|(bytes in proptest::collection::vec(0_u8..16, 0..200))| {
            let _ = check(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
        });
    }
}
