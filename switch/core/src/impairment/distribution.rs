//! How a delay varies.
//!
//! # Theory of operation
//!
//! A distribution is its quantile function, in units of the jitter: a uniform number goes in, a deviation from the delay comes out.
//! netem keeps these functions as tables of 4096 values; its generators (NIST Net's, which nobody has rights in) give the
//! formulas, and those are evaluated here. Like the tables, they end at four times the jitter.

/// By which law a delay varies around its mean. The jitter is the half width of `Uniform`, and the scale of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    #[default]
    Uniform,
    /// With the jitter as its standard deviation.
    Normal,
    /// Of shape 3: never far below the delay, at times far above it.
    Pareto,
    /// A quarter of the normal one and three of Pareto's, which is close to what is measured on long ways.
    ParetoNormal,
}

impl Distribution {
    /// The deviation below which the share `unit` of all lie, in jitters.
    pub fn quantile(self, unit: f64) -> f64 {
        match self {
            Self::Uniform => 2.0 * unit - 1.0,
            Self::Normal => normal(unit),
            Self::Pareto => pareto(unit),
            Self::ParetoNormal => {
                (0.25 * normal(unit) + 0.75 * pareto(unit)).clamp(-DEVIATION_MAX, DEVIATION_MAX)
            }
        }
    }
}

/// `netem/pareto.c`: the mean is taken off, so that the delay is the mean.
fn pareto(unit: f64) -> f64 {
    let value = (1.0 - unit).powf(-1.0 / PARETO_SHAPE);
    ((value - 1.5) * (4.0 / 3.0)).min(DEVIATION_MAX)
}

/// The inverse of the normal distribution: P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution
/// function", relative error below 1.2e-9.
fn normal(unit: f64) -> f64 {
    let deviation = if unit < TAIL {
        tail(unit)
    } else if unit > 1.0 - TAIL {
        -tail(1.0 - unit)
    } else {
        let q = unit - 0.5;
        let r = q * q;
        q * polynomial(&A, r) / (polynomial(&B, r) * r + 1.0)
    };
    deviation.clamp(-DEVIATION_MAX, DEVIATION_MAX)
}

fn tail(unit: f64) -> f64 {
    let q = (-2.0 * unit.max(f64::MIN_POSITIVE).ln()).sqrt();
    polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
}

/// The coefficient of the highest power first.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// The tables hold 16-bit numbers of 1/8192.
const DEVIATION_MAX: f64 = 4.0;
const PARETO_SHAPE: f64 = 3.0;
const TAIL: f64 = 0.024_25;
const A: [f64; 6] = [
    -39.696_830_286_653_76,
    220.946_098_424_520_5,
    -275.928_510_446_968_7,
    138.357_751_867_269,
    -30.664_798_066_147_16,
    2.506_628_277_459_239,
];
const B: [f64; 5] = [
    -54.476_098_798_224_06,
    161.585_836_858_040_9,
    -155.698_979_859_886_6,
    66.801_311_887_719_72,
    -13.280_681_552_885_72,
];
const C: [f64; 6] = [
    -0.007_784_894_002_430_293,
    -0.322_396_458_041_136_5,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];
const D: [f64; 4] = [
    0.007_784_695_709_041_462,
    0.322_467_129_070_039_8,
    2.445_134_137_142_996,
    3.754_408_661_907_416,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables_in_books() {
        for (unit, expected) in [
            (0.5, 0.0),
            (0.841_344_746_068_543, 1.0),
            (0.977_249_868_051_821, 2.0),
            (0.001_349_898_031_630, -3.0),
            (0.025, -1.959_963_984_540),
            (0.0, -4.0),
            (1.0, 4.0),
        ] {
            is_near(Distribution::Normal.quantile(unit), expected);
        }
    }

    #[test]
    fn paretos_begins_at_two_thirds_below_and_has_the_mean_of_zero() {
        is_near(Distribution::Pareto.quantile(0.0), -2.0 / 3.0);
        is_near(Distribution::Pareto.quantile(0.875), 2.0 / 3.0);
        is_near(Distribution::Pareto.quantile(1.0), 4.0);
        is_near(Distribution::ParetoNormal.quantile(0.5), pareto(0.5) * 0.75);
        for law in [
            Distribution::Uniform,
            Distribution::Normal,
            Distribution::Pareto,
            Distribution::ParetoNormal,
        ] {
            let points = (0..100_000).map(|n| (f64::from(n) + 0.5) / 100_000.0);
            let mean = points.map(|unit| law.quantile(unit)).sum::<f64>() / 100_000.0;
            // The tail that is cut off takes a little of Pareto's.
            assert!(mean.abs() < 0.04, "{law:?} {mean}");
        }
    }

    #[test]
    fn quantiles_grow() {
        for law in [
            Distribution::Uniform,
            Distribution::Normal,
            Distribution::Pareto,
            Distribution::ParetoNormal,
        ] {
            let points = (0..=4096).map(|n| law.quantile(f64::from(n) / 4096.0));
            assert!(points.is_sorted(), "{law:?}");
        }
    }
}
