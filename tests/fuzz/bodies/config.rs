//! The configuration, from a file and from the environment.

use steadfast::config::Config;

use super::bounded;

/// TOML of two bytes becomes a value with its place.
const MULTIPLE: u64 = 2_000;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(config) = bounded(text.len(), MULTIPLE, || toml::from_str::<Config>(text)) {
        check_config(&config);
    }
    // Line by line as variables of the environment.
    let variables = text.lines().take(8).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim().replace('.', "__").to_uppercase();
        Some((format!("STEADFAST_{name}"), value.trim().to_owned()))
    });
    if let Ok(config) = Config::load(None, variables) {
        check_config(&config);
    }
}

/// What is valid stays so through a file.
fn check_config(config: &Config) {
    if config.validate().is_ok() {
        let text = toml::to_string(config).expect("a configuration is TOML");
        assert_eq!(toml::from_str::<Config>(&text).as_ref(), Ok(config));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let all = toml::to_string(&Config::default()).expect("a configuration is TOML");
    let variables =
        "data_dir=/a\nlisten.client=127.0.0.1:0\nengine.row_cache_bytes=2000000\ninsecure=true\n";
    vec![all.into_bytes(), variables.as_bytes().to_vec()]
}
