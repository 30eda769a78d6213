//! The bodies of the fuzz targets, run briefly: valid inputs, the same mutated, and random bytes.
//!
//! `STEADFAST_SEEDS` sets how many random sequences are tried, in place of a number that takes seconds. What a body
//! fails on is printed in hexadecimal. `make fuzz` runs the same bodies for as long as one likes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "helpers of tests may panic and need no documentation for others"
)]

mod amplification;
mod bodies;
mod mutate;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Prints the input if the body panics.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: {}", hex::encode(self.0));
        }
    }
}

fn run(check: fn(&[u8]), inputs: &[Vec<u8>]) {
    const INPUTS_OF_A_SEED: usize = 100;
    let check = |input: &[u8]| {
        let _printed = Input(input);
        check(input);
    };
    inputs.iter().for_each(|input| check(input));
    let asked = std::env::var("STEADFAST_SEEDS").ok();
    let seeds = asked.map_or(20, |text| {
        text.parse().expect("STEADFAST_SEEDS is a number of seeds")
    });
    for seed in 0..seeds {
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..INPUTS_OF_A_SEED {
            check(&mutate::input(inputs, &mut rng));
        }
    }
}

macro_rules! targets {
    ($($test:ident: $body:ident,)*) => {
        $(
            #[test]
            fn $test() {
                run(bodies::$body::check, &bodies::$body::seeds());
            }
        )*
    };
}

targets! {
    any_configuration_is_refused_or_valid_for_good: config,
    any_key_is_refused_or_the_only_encoding_of_its_values: key,
    any_message_of_a_peer_is_refused_or_reads_back: peer_message,
    any_record_is_refused_or_reads_back: record,
    any_request_is_refused_or_becomes_what_can_be_served: request,
    any_result_of_a_named_write_is_refused_or_reads_back: request_entry,
    any_rows_are_refused_or_merge_by_the_laws: row,
    any_question_of_a_quorum_read_is_refused_or_reads_back: row_question,
    any_sealed_file_is_refused_or_reads_back: sealed,
    any_state_is_refused_or_reads_back: state,
    any_definition_is_refused_or_can_be_applied: view_file,
    any_segment_is_refused_or_recovered: wal,
}
