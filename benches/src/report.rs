//! The report: a table for people, JSON for programs.

use crate::{CALL, DEPTHS, MARK, OBJECTS};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One measured operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name; names stay.
    pub name: String,
    /// The mean cost of one operation.
    pub value: f64,
    /// The unit of `value`.
    pub unit: String,
    /// VM exits and VM entries during one operation.
    pub transitions: f64,
    /// How many operations were measured.
    pub samples: u64,
}

/// Everything measured in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it was measured.
    pub host: String,
    /// The unit of all costs.
    pub unit: String,
    /// The measurements.
    pub measures: Vec<Measure>,
}

/// What is measured, in the order of the table: name and explanation.
const EXPLAINED: &[(&str, &str)] = &[
    ("instruction.plain", "an instruction that nobody intercepts"),
    ("api.null.syscall", "null API call through SYSCALL"),
    ("api.null.vmcall", "null API call through VMCALL"),
    ("mutex.uncontended", "a program locks and unlocks a Mutex that nobody else wants"),
    ("mutex.contended", "unlocking for a thread that waits, and waiting for it to unlock"),
    ("ipc.rpc", "RPC round trip of eight words in registers, native child and nester"),
    ("ipc.oneway", "notification of a waiting thread in another space, to its first instruction"),
    ("ipc.rpc.4k", "call and reply of 4 KiB each over a connection, native child and nester"),
    ("thread.switch", "switch to a thread in another Space and its address space, by donation"),
    ("thread.state", "get_state and set_state of a native thread's general registers"),
    ("exit.cpuid.monitor", "CPUID answered by the monitor's table"),
    ("exit.rdmsr.monitor", "RDMSR answered by the monitor's table"),
    ("exit.rdmsr.nester", "RDMSR served by the nester"),
    ("exit.port_write.nester", "port write served by the nester"),
    ("interrupt.injected", "guest interrupt injected by the nester"),
    ("fault.soft.1", "fault resolved from the hierarchy, memory one Space away"),
    ("fault.soft.64", "fault resolved from the hierarchy, memory 64 Spaces away"),
    ("fault.copy", "write to a page that is copied then, which was read before, 4 KiB included"),
    ("fault.hard", "hard fault, native child; its keeper's reply grows a Mapping by a page"),
    ("fault.hard.new", "the same; the reply puts a Mapping in place that was nowhere"),
    ("fault.prot1", "the keeper protects a page, the child writes there, the keeper gives the right back"),
    ("fault.unmapped.native", "unmapped access resolved by the nester, native child"),
    ("fault.unmapped.machine", "unmapped access resolved by the nester, machine"),
    ("tracked.write.native", "a native child writes to a tracked page, after a report"),
    ("tracked.write.machine", "a machine does"),
    ("tracked.report.native", "one written page of a native child is reported, of many in one call"),
    ("tracked.report.machine", "the same, written by a machine"),
    ("linux.boot.nested", "Linux inside the nester, kernel entry to first user instruction"),
    ("linux.boot.bare", "the same kernel on the bare host"),
    ("linux.boot.ratio", "Linux inside the nester / on the bare host"),
    ("linux.boot.console.nested", "the same, with all messages on the console"),
    ("linux.boot.console.bare", "the same kernel on the bare host"),
    ("linux.boot.console.ratio", "Linux inside the nester / on the bare host"),
];

/// The measurement that a line of a measured program reports, if it reports one.
pub fn parse_line(line: &str, unit: &str) -> Option<Measure> {
    let mut words = line.trim().split(' ');
    if words.next() != Some(MARK) {
        return None;
    }
    let name = words.next()?.to_string();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (value, transitions, samples) = (number()?, number()?, number()?);
    words.next().is_none().then(|| Measure {
        name,
        value: value as f64 / 100.0,
        unit: unit.to_string(),
        transitions: transitions as f64 / 100.0,
        samples,
    })
}

fn number(value: f64) -> String {
    if value >= 100_000.0 || value.fract() == 0.0 { group(value.round() as u64) } else { format!("{value:.2}") }
}

fn group(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Report {
    /// The measurement called `name`.
    pub fn get(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// Adds how much slower Linux boots inside the nester, once both boots called `name` are measured.
    pub fn add_boot_ratio(&mut self, name: &str) {
        let boot = |which: &str| self.get(&format!("{name}.{which}"));
        if let (Some(nested), Some(bare)) = (boot("nested"), boot("bare")) {
            let (value, samples) = (nested.value / bare.value, nested.samples);
            let ratio =
                Measure { name: format!("{name}.ratio"), value, unit: "ratio".into(), transitions: 0.0, samples };
            self.measures.push(ratio);
        }
    }

    /// An aligned table.
    pub fn table(&self) -> String {
        let mut text = format!("{}; costs in {}\n\n", self.host, self.unit);
        let explanation = |name: &str| EXPLAINED.iter().find(|(other, _)| *other == name).map_or("", |(_, text)| text);
        let singles = self.measures.iter().filter(|measure| !measure.name.starts_with(CALL));
        let width = singles.map(|measure| measure.name.len()).max().unwrap_or(0);
        let _ = writeln!(text, "{:width$}  {:>15}  {:>11}  what", "name", "cost", "transitions");
        let order = |measure: &Measure| EXPLAINED.iter().position(|(name, _)| *name == measure.name);
        let mut measures: Vec<_> = self.measures.iter().collect();
        measures.sort_by_key(|measure| order(measure).unwrap_or(usize::MAX));
        for measure in measures.into_iter().filter(|measure| !measure.name.starts_with(CALL)) {
            let _ = writeln!(
                text,
                "{:width$}  {:>15}  {:>11}  {}",
                measure.name,
                number(measure.value),
                number(measure.transitions),
                explanation(&measure.name)
            );
        }
        text
    }

    /// An aligned table of every call: alone, beside many objects, many levels deep. Calls that wait are measured with those that they
    /// wait for.
    pub fn calls(&self) -> String {
        let beside =
            OBJECTS.iter().map(|objects| (format!("{} objects", group(*objects)), format!(".objects.{objects}")));
        let deep = DEPTHS[1..].iter().map(|depth| (format!("depth {depth}"), format!(".depth.{depth}")));
        let columns: Vec<_> = [("alone".to_owned(), String::new())].into_iter().chain(beside).chain(deep).collect();
        let calls = self.measures.iter().filter_map(|measure| measure.name.strip_prefix(CALL));
        let calls: Vec<_> = calls.filter(|name| !name.contains('.')).collect();
        let width = calls.iter().map(|call| call.len()).max().unwrap_or(0);
        let mut text = format!("every call; costs in {}\n\n{:width$}", self.unit, "call");
        let cell = |text: &str, title: &str| format!("  {text:>width$}", width = title.len().max(7));
        for (title, _) in &columns {
            text += &cell(title, title);
        }
        for call in calls {
            let _ = write!(text, "\n{call:width$}");
            for (title, suffix) in &columns {
                let measure = self.get(&format!("{CALL}{call}{suffix}"));
                text += &cell(&measure.map_or_else(String::new, |measure| group(measure.value.round() as u64)), title);
            }
        }
        text + "\n"
    }

    /// The report as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_measurements_or_nothing() {
        let measure = parse_line("measure api.null.syscall 15025 0 1000\r\n", "instructions").unwrap();
        assert_eq!((measure.value, measure.transitions, measure.samples), (150.25, 0.0, 1000));
        for line in ["measure", "measure x 1 2", "measure x 1 2 3 4", "measure x -1 2 3", "Measure x 1 2 3", ""] {
            assert_eq!(parse_line(line, "instructions"), None, "{line}");
        }
    }

    #[test]
    fn calls_have_a_table_of_their_own() {
        let lines = ["measure call.x_y 150000 0 1", "measure call.x_y.objects.1000 160000 0 1", "measure z 100 0 1"];
        let measures = lines.iter().map(|line| parse_line(line, "instructions").unwrap()).collect();
        let report = Report { host: "Bochs".into(), unit: "instructions".into(), measures };
        let row = report.calls().lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(row, ["x_y", "1,500", "1,600"]);
        assert!(!report.table().contains("x_y") && !report.calls().contains('z'));
    }

    #[test]
    fn a_report_survives_json_and_shows_the_ratio() {
        let lines = ["measure linux.boot.nested 150000 0 1", "measure linux.boot.bare 100000 0 1"];
        let measures = lines.iter().map(|line| parse_line(line, "instructions").unwrap()).collect();
        let mut report = Report { host: "Bochs".into(), unit: "instructions".into(), measures };
        report.add_boot_ratio("linux.boot");
        assert_eq!(report.get("linux.boot.ratio").unwrap().value, 1.5);
        assert_eq!(serde_json::from_str::<Report>(&report.json().unwrap()).unwrap(), report);
        assert!(report.table().contains("linux.boot.ratio"));
        assert_eq!(group(1234567), "1,234,567");
    }
}
