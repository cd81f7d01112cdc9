//! The reference is complete: every call and every state structure has its page, every page its sections and its example.

use protocols::api::Call;
use std::fs;
use std::path::{Path, PathBuf};
use zerocopy::TryFromBytes;

/// The sections of a call's page, in this order.
const SECTIONS: [&str; 7] = ["# Arguments", "# Results", "# Misuse", "# Effects", "# Restart", "# Cost", "# Example"];
/// State structures, and where they are defined.
const STATES: [(&str, &str); 8] = [
    ("MutexState", "api/mutex.rs"),
    ("MappingState", "api/mapping.rs"),
    ("RegionState", "api/region.rs"),
    ("SpaceState", "api/space.rs"),
    ("ConnectionState", "api/transfer.rs"),
    ("Transfer", "api/transfer.rs"),
    ("NativeState", "native_thread.rs"),
    ("VirtualCpuState", "virtual_cpu.rs"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> String {
    let files = fs::read_dir(root().join(folder)).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap() + "\n").collect()
}

fn calls() -> impl Iterator<Item = Call> {
    (0..0x1000u64).filter_map(|number| Call::try_read_from_bytes(&number.to_ne_bytes()).ok())
}

/// `MutexLock` is `mutex_lock`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The lines before `position` that document what stands there.
fn documentation(source: &str, position: usize) -> String {
    let before: Vec<_> = source[..position].lines().collect();
    let begin = before.iter().rposition(|line| line.trim().is_empty() || *line == "}" || *line == ");");
    before[begin.map_or(0, |begin| begin + 1)..].join("\n")
}

/// The documentation with what its macros stand for.
fn expanded(documentation: &str, macros: &str) -> String {
    let mut text = String::new();
    // A macro that uses its own page has said it already.
    for line in documentation.lines().filter(|line| !line.contains("!(@page $")) {
        text += &format!("{line}\n");
        for name in ["create", "destroy", "relocate", "refer", "moves", "misuse", "never_waits"] {
            if line.contains(&format!("{name}!(")) {
                text += &expanded(body(macros, name), macros);
            }
        }
        if line.contains("example!(") {
            text += "# Example\n";
        }
    }
    text
}

/// The body of a macro that pages are made with.
fn body<'a>(macros: &'a str, name: &str) -> &'a str {
    let begin = macros.find(&format!("macro_rules! {name} {{")).unwrap_or_else(|| panic!("no macro {name}"));
    let rest = &macros[begin..];
    &rest[..rest.find("\n}").unwrap()]
}

/// Says which sections are missing, or stand in another order.
fn missing(page: &str) -> Vec<&'static str> {
    let mut position = 0;
    let mut missing = Vec::new();
    for section in SECTIONS {
        match page[position..].find(section) {
            Some(found) => position += found,
            None => missing.push(section),
        }
    }
    missing
}

#[test]
fn every_call_has_a_page() {
    let source = sources("src/libc/system_call");
    let macros = fs::read_to_string(root().join("src/page.rs")).unwrap() + &source;
    let mut incomplete = Vec::new();
    let mut count = 0;
    for call in calls() {
        count += 1;
        let (variant, name) = (format!("{call:?}"), snake_case(&format!("{call:?}")));
        // A function that is written down, or one that a macro makes of the call's name and an example.
        let function =
            source.find(&format!("fn {name}(")).map(|position| expanded(&documentation(&source, position), &macros));
        let made = [format!("{variant},{name}("), format!("{variant},{name},\"{name}\"")];
        let dense: String = source.split_whitespace().collect();
        let invoked = made.iter().any(|made| dense.contains(made)) && dense.contains(&format!("\"{name}\","));
        match function {
            Some(page) => {
                let missing = missing(&page);
                let names_it = page.contains(&format!("| `rax` | [`{variant}`](Call::{variant}) |"));
                let names_it = names_it || page.contains(&format!("!(@page {variant}, "));
                if !names_it || !missing.is_empty() || !page.contains(&format!("example!(\"{name}\")")) {
                    incomplete.push(format!("{name}: {missing:?}"));
                }
            }
            None if invoked => {}
            None => incomplete.push(format!("{name}: no page")),
        }
        if !Path::new(&root().join("examples").join(format!("{name}.rs"))).exists() {
            incomplete.push(format!("{name}: no example"));
        }
    }
    assert!(count > 100, "only {count} calls were found");
    assert!(incomplete.is_empty(), "{incomplete:#?}");
}

#[test]
fn macros_make_whole_pages() {
    let source = sources("src/libc/system_call");
    let macros = fs::read_to_string(root().join("src/page.rs")).unwrap() + &source;
    for name in ["create", "destroy", "relocate", "refer"] {
        assert_eq!(missing(&expanded(body(&macros, name), &macros)), [""; 0], "{name}");
    }
    for name in ["transfers", "connects", "waits"] {
        assert_eq!(missing(&expanded(body(&macros, name), &macros)), [""; 0], "{name}");
    }
}

#[test]
fn every_call_says_where_its_page_is() {
    let source = fs::read_to_string(root().join("src/api/call.rs")).unwrap();
    let front = fs::read_to_string(root().join("src/api.rs")).unwrap();
    for call in calls() {
        let name = snake_case(&format!("{call:?}"));
        let position = source.find(&format!("    {call:?} = ")).unwrap();
        let line = source[..position].lines().last().unwrap();
        assert!(line.contains(&format!("::{name})")), "{call:?}: {line}");
        let row = format!("::{name}) | `{:#x}` |", call as u64);
        assert!(front.contains(&row), "{call:?} is not on the front page");
    }
}

#[test]
fn every_state_has_a_page() {
    for (name, file) in STATES {
        let source = fs::read_to_string(root().join("src").join(file)).unwrap();
        let position = source.find(&format!("pub struct {name} {{")).unwrap();
        let page = documentation(&source, position);
        assert!(page.contains(&format!("example!(\"{}\")", snake_case(name))), "{name}");
        assert!(page.contains("read") && page.contains("set"), "{name}: who reads and sets it");
    }
}

#[test]
fn examples_are_short_and_check_what_they_find() {
    for file in fs::read_dir(root().join("examples")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let checks = ["assert", "?;", "matches!"].iter().any(|check| text.contains(check));
        assert!(checks && text.contains("pub fn example() -> Result<()>"), "{path:?}");
        assert!(text.lines().count() <= 40, "{path:?} is long");
        assert!(!text.contains("unsafe"), "{path:?}");
    }
}
