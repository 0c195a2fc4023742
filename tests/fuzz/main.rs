//! The fuzzers as one binary: `TIERWATCH_FUZZ` names the target, all else is libFuzzer's. With `TIERWATCH_FUZZ_SEEDS` it
//! writes the first inputs and the dictionary of the target into that folder instead.

#![no_main]
#![allow(clippy::disallowed_methods, reason = "a tool of developers, told by its script what to do")]

mod targets;

use std::{env, fmt::Write, fs, panic, path::Path, process, sync::OnceLock};

use targets::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = env::var("TIERWATCH_FUZZ").unwrap_or_default();
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        let known = names.iter().position(|known| *known == name);
        let known = known.unwrap_or_else(|| panic!("TIERWATCH_FUZZ is `{name}`, and is one of {}", names.join(", ")));
        &targets::ALL[known]
    })
}

fn begin() {
    // A panic that the engine's guard catches is no crash; one that nobody catches ends the process all the same.
    drop(panic::take_hook());
    let Ok(folder) = env::var("TIERWATCH_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    let seeds = folder.join("seeds");
    fs::create_dir_all(&seeds).expect("a folder");
    for (name, input) in (target().seeds)() {
        fs::write(seeds.join(name), input).expect("written");
    }
    let mut dictionary = String::new();
    for word in targets::words() {
        let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        writeln!(dictionary, "\"{escaped}\"").expect("a text takes more text");
    }
    fs::write(folder.join("words"), dictionary).expect("written");
    process::exit(0);
}

libfuzzer_sys::fuzz_target!(init: begin(), |input: &[u8]| (target().run)(input));
