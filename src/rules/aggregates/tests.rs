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

mod laws {
    //! The same bits for any values, cut and merged in any way.

    use proptest::prelude::*;

    use super::*;

    /// Doubles of every size, most of them such as events have.
    fn values() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000..1000_i32).prop_map(f64::from).prop_map(|value| value / 10.0),
            1 => any::<f64>(),
            1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, 1e100, -1e100, 1e16]),
        ]
    }

    /// Cuts values into parts and merges them as a tree of the given form.
    fn tree(
        make: &dyn Fn() -> Box<dyn GroupsAccumulator>,
        parts: &[Vec<f64>],
        form: &[prop::sample::Index],
    ) -> ArrayRef {
        let mut states: Vec<ArrayRef> = Vec::new();
        for part in parts {
            let mut one = make();
            one.update_batch(&[doubles(part)], &vec![0; part.len()], None, 1).unwrap();
            states.push(one.state(EmitTo::All).unwrap().remove(0));
        }
        // Two of them at a time become one, until one is left.
        for step in form.iter().cycle() {
            if states.len() < 2 {
                break;
            }
            let (first, second) = (states.remove(step.index(states.len())), states.remove(step.index(states.len())));
            let mut both = make();
            both.merge_batch(&[first], &[0], 1).unwrap();
            both.merge_batch(&[second], &[0], 1).unwrap();
            states.push(both.state(EmitTo::All).unwrap().remove(0));
        }
        let mut whole = make();
        whole.merge_batch(&states, &[0], 1).unwrap();
        whole.evaluate(EmitTo::All).unwrap()
    }

    fn bits(array: &ArrayRef) -> Option<u64> {
        let array = array.as_primitive::<Float64Type>();
        array.is_valid(0).then(|| array.value(0).to_bits())
    }

    proptest! {
        #[test]
        fn any_tree_of_merges_gives_the_same_bits(
            (values, shuffled) in prop::collection::vec(values(), 0..40)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
            size in 1..12_usize,
            form in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
        ) {
            let sums = || Box::new(Sums::default()) as Box<dyn GroupsAccumulator>;
            let averages = || Box::new(Sums { average: true, ..Sums::default() }) as Box<dyn GroupsAccumulator>;
            let sketches = || Box::new(Sketches { quantile: 0.9, groups: Vec::new() }) as Box<dyn GroupsAccumulator>;
            let makers: [&dyn Fn() -> Box<dyn GroupsAccumulator>; 3] = [&sums, &averages, &sketches];
            for make in makers {
                let whole = tree(make, std::slice::from_ref(&values), &form);
                let parts: Vec<Vec<f64>> = shuffled.chunks(size).map(<[f64]>::to_vec).collect();
                if !parts.is_empty() {
                    prop_assert_eq!(bits(&tree(make, &parts, &form)), bits(&whole), "{:?}", parts);
                }
            }
        }

        #[test]
        fn a_sum_of_whole_numbers_and_halves_is_exact(values in prop::collection::vec(-1_000_000_000..1_000_000_000_i64, 1..60)) {
            let mut one = Sums::default();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let halves: Vec<f64> = values.iter().map(|value| *value as f64 / 2.0).collect();
            one.update_batch(&[doubles(&halves)], &vec![0; halves.len()], None, 1).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let sum = values.iter().sum::<i64>() as f64 / 2.0;
            prop_assert_eq!(bits(&one.evaluate(EmitTo::All).unwrap()), Some((sum + 0.0).to_bits()));
        }

        #[test]
        fn a_percentile_is_within_one_percent_of_the_exact(
            mut values in prop::collection::vec(prop_oneof![0.01..100_000.0_f64, -100_000.0..-0.01_f64, Just(0.0)], 1..200),
            quantile in prop::sample::select(vec![0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]),
        ) {
            let mut one = Sketches { quantile, groups: Vec::new() };
            one.update_batch(&[doubles(&values)], &vec![0; values.len()], None, 1).unwrap();
            let found = one.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().value(0);
            values.sort_by(f64::total_cmp);
            // Between the two values at whose ranks the quantile lies, or within 1% of one of them.
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few values")]
            let rank = (quantile * (values.len() - 1) as f64) as usize;
            let (low, high) = (values[rank], values[(rank + 1).min(values.len() - 1)]);
            prop_assert!(
                low - low.abs() / 100.0 <= found && found <= high + high.abs() / 100.0,
                "{} of {}..{}", found, low, high
            );
        }
    }
}
