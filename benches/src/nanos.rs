//! What criterion has measured of the small costs, from the files it leaves.

use std::fs;
use std::path::Path;

/// The median of one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Nanos {
    /// Its group and its name.
    pub name: String,
    /// For one.
    pub nanoseconds: f64,
}

/// All that are in criterion's folder, by name.
pub fn read(folder: &Path) -> Vec<Nanos> {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let one = |path: &Path| -> Option<Nanos> {
        let text = |name: &str| fs::read_to_string(path.join("new").join(name)).ok();
        Some(Nanos { name: full_id(&text("benchmark.json")?)?, nanoseconds: median(&text("estimates.json")?)? })
    };
    let mut all: Vec<Nanos> =
        folders(folder).flat_map(|group| folders(&group).filter_map(|path| one(&path)).collect::<Vec<_>>()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Both files are of criterion's making, without line breaks or escapes.
fn full_id(benchmark: &str) -> Option<String> {
    let (_, rest) = benchmark.split_once("\"full_id\":\"")?;
    Some(rest.split_once('"')?.0.into())
}

fn median(estimates: &str) -> Option<f64> {
    let (_, rest) = estimates.split_once("\"median\":{")?;
    let (_, rest) = rest.split_once("\"point_estimate\":")?;
    rest.split([',', '}']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_and_not_the_mean() {
        let estimates = "{\"mean\":{\"confidence_interval\":{\"confidence_level\":0.95,\"lower_bound\":1.0},\"point_estimate\":2.0},\
            \"median\":{\"confidence_interval\":{\"lower_bound\":3.0},\"point_estimate\":4.25,\"standard_error\":0.1}}";
        assert_eq!(median(estimates), Some(4.25));
        assert_eq!(
            full_id("{\"group_id\":\"gate\",\"full_id\":\"gate/state\",\"x\":1}").as_deref(),
            Some("gate/state")
        );
        assert_eq!(read(Path::new("/nonexistent")), []);
    }
}
