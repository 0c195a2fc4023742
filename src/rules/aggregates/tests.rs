//! The same bits however cut and merged, and no wrong numbers.

use super::*;

fn doubles(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// The result over `values` cut at each of `cuts`, merged in the given order.
fn cut_and_merged(
    make: &dyn Fn() -> Box<dyn GroupsAccumulator>,
    values: &[f64],
    parts: &[std::ops::Range<usize>],
) -> ArrayRef {
    let mut whole = make();
    for part in parts {
        let mut one = make();
        let slice = &values[part.clone()];
        one.update_batch(&[doubles(slice)], &vec![0; slice.len()], None, 1).unwrap();
        whole.merge_batch(&one.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
    }
    whole.evaluate(EmitTo::All).unwrap()
}

#[test]
fn the_same_bits_however_cut_and_merged() {
    let values: Vec<f64> =
        (0..1000).map(|n| (f64::from(n) * 0.1).exp() * if n % 3 == 0 { -1.0 } else { 1e-3 }).collect();
    let sums = || Box::new(Sums::default()) as Box<dyn GroupsAccumulator>;
    let averages = || Box::new(Sums { average: true, ..Sums::default() }) as Box<dyn GroupsAccumulator>;
    let sketches = || Box::new(Sketches { quantile: 0.95, groups: Vec::new() }) as Box<dyn GroupsAccumulator>;
    let makers: [&dyn Fn() -> Box<dyn GroupsAccumulator>; 3] = [&sums, &averages, &sketches];
    for make in makers {
        let one = cut_and_merged(make, &values, std::slice::from_ref(&(0..1000)));
        assert_eq!(&one, &cut_and_merged(make, &values, &[0..1, 1..500, 500..1000]));
        assert_eq!(&one, &cut_and_merged(make, &values, &[700..1000, 0..700]));
        assert_eq!(&one, &cut_and_merged(make, &values, &[999..1000, 300..999, 100..300, 0..100]));
    }
}

#[test]
fn sums_are_exact_and_rounded_once() {
    let cases: [(Vec<f64>, f64); 4] = [
        (vec![1e100, 1.0, -1e100], 1.0),
        (vec![0.1; 10], 1.0),
        (vec![1e16, 1.0, 1e-16], 1.000_000_000_000_000_2e16),
        (vec![-0.0], 0.0),
    ];
    for (values, sum) in cases {
        let mut one = Expansion::default();
        for value in &values {
            one.add(*value);
            one.count += 1;
        }
        assert_eq!(one.value().map(f64::to_bits), Some(sum.to_bits()), "{values:?}: {:?}", one.value());
    }
}

#[test]
fn a_percentile_is_within_one_percent_and_never_outside_the_values() {
    let mut one = Sketches { quantile: 0.95, groups: Vec::new() };
    let values: Vec<f64> = (1..=1000).map(f64::from).collect();
    one.update_batch(&[doubles(&values)], &vec![0; 1000], None, 1).unwrap();
    let p95 = one.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().value(0);
    assert!((p95 - 950.0).abs() <= 9.5, "{p95}");
    one.update_batch(&[doubles(&[7.0, 7.0])], &[0, 0], None, 1).unwrap();
    assert_eq!(one.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().value(0), 7.0);
}

#[test]
fn an_overflow_is_an_error_not_a_wrong_number() {
    let mut one = WholeSums::default();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
    one.update_batch(&[values], &[0, 0], None, 1).unwrap();
    assert!(one.evaluate(EmitTo::All).unwrap_err().to_string().contains("does not fit"));
}
