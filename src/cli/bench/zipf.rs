//! Pure: ranks by Zipf's law, so that a few entities are asked for most of the time.
//!
//! Rejection-inversion after W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions", ACM TOMACS 6 (1996): constant time and memory for any number of ranks.
//!
//! **Invariant.** Every rank lies in `0..ranks`.

/// Draws ranks: rank `k`, counted from 0, comes up in proportion to `1 / (k + 1)^exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Zipf {
    ranks: u64,
    exponent: f64,
    /// The integral of the hat function up to the first and beyond the last rank.
    area: (f64, f64),
    /// So close below a rank the hat needs no test.
    margin: f64,
}

impl Zipf {
    /// A law over `ranks` ranks, one at least. The exponent is positive.
    #[must_use]
    pub fn new(ranks: u64, exponent: f64) -> Zipf {
        let ranks = ranks.max(1);
        let hat = Hat(exponent);
        Zipf {
            ranks,
            exponent,
            area: (hat.integral(1.5) - 1.0, hat.integral(ranks as f64 + 0.5)),
            margin: 2.0 - hat.inverse(hat.integral(2.5) - hat.height(2.0)),
        }
    }

    /// A rank, made from numbers that `uniform` draws evenly from `0.0..1.0`.
    pub fn rank(&self, mut uniform: impl FnMut() -> f64) -> u64 {
        let hat = Hat(self.exponent);
        let (first, last) = self.area;
        loop {
            let area = last + uniform() * (first - last);
            let place = hat.inverse(area);
            let rank = place.round().clamp(1.0, self.ranks as f64);
            let is_below = rank - place <= self.margin;
            if is_below || area >= hat.integral(rank + 0.5) - hat.height(rank) {
                return whole(rank) - 1;
            }
        }
    }
}

/// `x^-exponent`, its integral and the inverse of that, stable where the exponent is near 1.
struct Hat(f64);

impl Hat {
    fn height(&self, x: f64) -> f64 {
        (-self.0 * x.ln()).exp()
    }

    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let scaled = (1.0 - self.0) * log;
        let factor = if scaled.abs() > 1e-8 {
            scaled.exp_m1() / scaled
        } else {
            1.0 + scaled / 2.0
        };
        factor * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let scaled = (area * (1.0 - self.0)).max(-1.0);
        let factor = if scaled.abs() > 1e-8 {
            scaled.ln_1p() / scaled
        } else {
            1.0 - scaled / 2.0
        };
        (factor * area).exp()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is a whole number between 1 and the number of ranks"
)]
fn whole(rank: f64) -> u64 {
    rank as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn counts(ranks: usize, exponent: f64, draws: u32) -> Vec<f64> {
        let mut rng = SmallRng::seed_from_u64(7);
        let zipf = Zipf::new(ranks as u64, exponent);
        let mut counts = vec![0.0; ranks];
        for _ in 0..draws {
            counts[usize::try_from(zipf.rank(|| rng.random())).unwrap()] += 1.0 / f64::from(draws);
        }
        counts
    }

    #[test]
    fn ranks_come_up_as_often_as_the_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let weights: Vec<f64> = (1..=50).map(|k| f64::from(k).powf(-exponent)).collect();
            let total: f64 = weights.iter().sum();
            for (rank, share) in counts(50, exponent, 400_000).into_iter().enumerate() {
                let expected = weights[rank] / total;
                let deviation = (expected / 400_000.0).sqrt();
                assert!(
                    (share - expected).abs() < 5.0 * deviation,
                    "rank {rank} of exponent {exponent}: {share} instead of {expected}"
                );
            }
        }
    }

    #[test]
    fn one_rank_is_always_drawn() {
        assert_eq!(counts(1, 0.99, 100).len(), 1);
    }

    #[test]
    fn the_tail_of_many_ranks_is_reached() {
        let mut rng = SmallRng::seed_from_u64(1);
        let zipf = Zipf::new(10_000_000, 0.99);
        let ranks = (0..10_000).map(|_| zipf.rank(|| rng.random()));
        assert!(ranks.max().unwrap() > 5_000_000);
    }
}
