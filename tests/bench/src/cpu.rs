//! Processor time of processes: a measure that other programs on the machine hardly disturb.

use std::time::Duration;

use crate::fallible::Fallible;

/// The kernel's clock ticks, which are 100 a second on Linux whatever the real ones are.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far, user and system.
pub(crate) fn of_process(id: u32) -> Fallible<Duration> {
    Ok(TICK * stat(id)?.own)
}

/// What a process, its ended children and its living children have used so far.
pub(crate) fn of_family(id: u32) -> Fallible<Duration> {
    let parent = stat(id)?;
    let mut ticks = parent.own + parent.ended_children;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has ended meanwhile is the parent's next time.
        if let Ok(child) = stat(child)
            && child.parent == id
        {
            ticks += child.own;
        }
    }
    Ok(TICK * ticks)
}

struct Stat {
    parent: u32,
    own: u32,
    ended_children: u32,
}

fn stat(id: u32) -> Fallible<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name before the parenthesis may hold anything.
    let (_, fields) = text.rsplit_once(')').ok_or("no stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field =
        |number: usize| -> Fallible<u32> { Ok(fields.get(number).ok_or("a short stat")?.parse()?) };
    Ok(Stat {
        parent: field(1)?,
        own: field(11)? + field(12)?,
        ended_children: field(13)? + field(14)?,
    })
}
