//! The body of a deploy: `multipart/form-data` (RFC 7578) with a few named parts, which `curl -F`
//! sends.

/// The headers of one part.
const HEADER_BYTES_MAX: usize = 4 << 10;
/// More parts than are known are refused anyway.
const PARTS_MAX: usize = 8;

/// A part's name and bytes.
pub(super) type Part<'b> = (String, &'b [u8]);

/// Takes a body apart. Strict: what is not understood is refused, with a rule for people.
pub(super) fn parts<'b>(content_type: &str, body: &'b [u8]) -> Result<Vec<Part<'b>>, &'static str> {
    let boundary = boundary(content_type)
        .ok_or("send it as multipart/form-data with a boundary, as `curl -F` does")?;
    let first = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest =
        body.strip_prefix(first.as_bytes()).ok_or("it does not begin with its boundary")?;
    let mut parts = Vec::new();
    loop {
        if rest.strip_prefix(b"--").is_some_and(|end| end.is_empty() || end == b"\r\n") {
            return Ok(parts);
        }
        if parts.len() == PARTS_MAX {
            return Err("it has too many parts");
        }
        let part = rest.strip_prefix(b"\r\n").ok_or("a boundary has no line end behind it")?;
        let head = &part[..part.len().min(HEADER_BYTES_MAX)];
        let end = find(head, b"\r\n\r\n").ok_or("a part's headers have no end")?;
        let name = name_of(&part[..end]).ok_or("a part has no name")?;
        let content = &part[end + 4..];
        let length = find(content, between.as_bytes()).ok_or("a part has no end")?;
        parts.push((name, &content[..length]));
        rest = &content[length + between.len()..];
    }
}

fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').map(str::trim);
    let kind = parameters.next()?;
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&value.len()).then_some(value)
}

/// The `name` of `Content-Disposition: form-data`.
fn name_of(headers: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(headers).ok()?;
    let disposition = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let mut parameters = disposition.split(';').map(str::trim);
    if !parameters.next()?.eq_ignore_ascii_case("form-data") {
        return None;
    }
    parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name == "name").then(|| value.trim_matches('"').to_owned())
    })
}

/// Where the needle begins. Looks for its first byte, which is rare enough in a component.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        from += haystack.get(from..)?.iter().position(|byte| *byte == first)?;
        if haystack[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xyz";
    const BODY: &[u8] = b"--xyz\r\nContent-Disposition: form-data; name=\"manifest\"; \
        filename=\"plugin.toml\"\r\nContent-Type: text/plain\r\n\r\nname\r\n--xy\r\n\r\n--xyz\r\n\
        content-disposition: form-data; name=component\r\n\r\n\x00\xff\r\n\r\n--xyz--\r\n";

    #[test]
    fn what_curl_sends_is_taken_apart() {
        let parts = parts(TYPE, BODY).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], ("manifest".to_owned(), b"name\r\n--xy\r\n".as_slice()));
        assert_eq!(parts[1], ("component".to_owned(), b"\x00\xff\r\n".as_slice()));
    }

    #[test]
    fn what_is_cut_anywhere_is_refused_and_never_panics() {
        for cut in 0..BODY.len() - 2 {
            assert!(parts(TYPE, &BODY[..cut]).is_err(), "{cut}");
        }
        for wrong in [
            "",
            "multipart/form-data",
            "application/json; boundary=xyz",
            "multipart/form-data; boundary=",
        ] {
            assert!(parts(wrong, BODY).is_err(), "{wrong}");
        }
        let many = b"\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--xyz".repeat(9);
        assert!(parts(TYPE, &[b"--xyz".as_slice(), &many, b"--"].concat()).is_err());
    }
}
