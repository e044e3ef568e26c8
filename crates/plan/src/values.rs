//! Validation: what follows from a plan, value by value.
//!
//! [`Plan::values`] walks the operations once, checks every reference, shape, scale and bound, and
//! returns what every consumer needs: length, scale and mask of each value.

use crate::{
    Activation, Compare, Op, OpKind, Outside, Plan, PlanError, Printable, Range, Reveal, ScaleBits, Select,
    Truncate, ValueId, WrapRule,
};
use amicus_field::{LinearShape, SumPool2d};

/// Most elements a single value may have; keeps hostile plans from asking for absurd memory.
pub const MAX_VALUE_LEN: usize = 1 << 28;
/// Most weights of one tensor, for the same reason.
pub const MAX_WEIGHTS: usize = 1 << 31;
/// Largest factor of a row or column in [`OpKind::Weigh`].
pub const MAX_FACTOR: u32 = 1 << 16;
/// Most operations and weight tensors of a plan.
pub const MAX_OPS: usize = 1 << 16;

/// Most digits of a comparison, and most bits of one.
pub const MAX_DIGITS: (usize, u32) = (12, 8);
/// Most bits of a comparison's window, which is kept in one word.
pub const MAX_WINDOW: u32 = 52;
/// Most thresholds of a comparison.
pub const MAX_THRESHOLDS: usize = 16;
/// Most bits of tables and of joins that one element of a comparison may need.
pub const MAX_DEALT: (usize, usize) = (512, 64);
/// Most numbers that say whether any element is neither 0 nor 1.
pub const MAX_NUMBERS: u32 = 64;
/// Most labels that a plan reveals of one place.
pub const MAX_LABELS: u32 = 16;
/// Largest size of a coefficient of a selection, in bits; sums of a few fit 127.
pub const MAX_COEFFICIENT: u32 = 120;

/// Who holds the mask of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// The parties hold shares of the mask (and the helper knows it): may enter linear layers and
    /// products.
    Shared,
    /// Only the helper knows the mask: may enter an activation, a sum, or the output.
    Helper,
}

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Elements modulo `Q`.
    Elements,
    /// Masked bits: one for each element compared and threshold.
    Bits {
        /// Number of thresholds; of what is computed from bits, bits for each element.
        thresholds: usize,
    },
}

/// What is known of a value before it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Number of elements; of bits, that of the elements compared.
    pub len: usize,
    /// Fixed-point scale; 0 for bits.
    pub scale: ScaleBits,
    /// Who holds the mask.
    pub mask: MaskKind,
    /// Elements or bits.
    pub kind: ValueKind,
}

impl ValueInfo {
    fn elements(len: usize, scale: ScaleBits, mask: MaskKind) -> Self {
        ValueInfo { len, scale, mask, kind: ValueKind::Elements }
    }
}

/// All values of a valid plan: index 0 is the input, `i + 1` the result of operation `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Vec<ValueInfo>);

impl Values {
    /// What is known of one value.
    pub fn get(&self, id: ValueId) -> ValueInfo {
        self.0[id.index()]
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Plan {
    /// Checks the whole plan and derives length, scale and mask of every value.
    ///
    /// # Errors
    /// The first operation whose references, shapes, scales or bounds do not fit, by name.
    pub fn values(&self) -> Result<Values, PlanError> {
        if self.ops.is_empty() || self.ops.len() > MAX_OPS || self.weights.len() > MAX_OPS {
            return Err(PlanError::Whole(format!(
                "a plan has 1 to {MAX_OPS} operations and at most {MAX_OPS} weight tensors, this one {} and {}",
                self.ops.len(),
                self.weights.len()
            )));
        }
        if self.public.len() > MAX_OPS {
            let reason = format!("{} public weight tensors, at most {MAX_OPS}", self.public.len());
            return Err(PlanError::Whole(reason));
        }
        let names = self.tensors().map(|w| &w.name).chain(self.ops.iter().map(|op| &op.name));
        if let Some(name) = names.chain([&self.name]).find(|name| !Printable::is(name)) {
            return Err(PlanError::op(name, "a name that is too long or not printable"));
        }
        for w in self.tensors() {
            check_linear(&w.name, &w.shape)?;
            if w.shape.weights() > MAX_WEIGHTS {
                let reason = format!("{} weights, at most {MAX_WEIGHTS}", w.shape.weights());
                return Err(PlanError::op(&w.name, reason));
            }
        }
        self.public.iter().try_for_each(|tensor| tensor.check(self.limbs))?;
        let mut values = vec![self.input_value()?];
        let mut uses = vec![0u32; self.weights.len()];
        for op in &self.ops {
            let info = self.result_of(op, &values, &mut uses)?;
            if info.len == 0 || info.len > MAX_VALUE_LEN {
                return Err(PlanError::op(
                    &op.name,
                    format!("{} elements, allowed 1 to {MAX_VALUE_LEN}", info.len),
                ));
            }
            values.push(info);
        }
        if let Some(unused) = uses.iter().position(|&u| u == 0) {
            return Err(PlanError::op(&self.weights[unused].name, "weight tensor is never used"));
        }
        let mut applied = vec![false; self.public.len()];
        for op in &self.ops {
            if let OpKind::PublicLinear { weights, .. } = op.kind {
                applied[weights.index()] = true;
            }
        }
        if let Some(unused) = applied.iter().position(|&applied| !applied) {
            return Err(PlanError::op(&self.public[unused].spec.name, "weight tensor is never used"));
        }
        self.check_output(&values)?;
        self.check_statistical(&values)?;
        crate::masks::settle(self, &mut values);
        Ok(Values(values))
    }

    fn input_value(&self) -> Result<ValueInfo, PlanError> {
        let Range { low, high } = self.input.range;
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return Err(PlanError::op("input", format!("range {low} to {high} is not a finite interval")));
        }
        let len = self.input.shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).unwrap_or(0);
        if len == 0 || len > MAX_VALUE_LEN {
            return Err(PlanError::op("input", format!("shape {:?} has no valid size", self.input.shape)));
        }
        Ok(ValueInfo::elements(len, self.input.scale, MaskKind::Shared))
    }

    fn result_of(&self, op: &Op, values: &[ValueInfo], uses: &mut [u32]) -> Result<ValueInfo, PlanError> {
        let name = op.name.as_str();
        let any = |id: ValueId| {
            values.get(id.index()).copied().ok_or_else(|| {
                PlanError::op(name, format!("uses value {}, only {} are known before it", id.0, values.len()))
            })
        };
        let value = |id: ValueId| match any(id)? {
            ValueInfo { kind: ValueKind::Bits { .. }, .. } => {
                Err(PlanError::op(name, format!("uses value {}, which is bits, as numbers", id.0)))
            }
            elements => Ok(elements),
        };
        match &op.kind {
            OpKind::Linear { input, weights, use_index } => {
                let x = value(*input)?;
                let w = self.weights.get(weights.index()).ok_or_else(|| {
                    PlanError::op(name, format!("weight tensor {} does not exist", weights.0))
                })?;
                expect_shared(name, x)?;
                expect_len(name, w.shape.inputs(), x.len)?;
                let seen = &mut uses[weights.index()];
                if use_index.0 != *seen {
                    return Err(PlanError::op(
                        name,
                        format!("use {} of its weights, expected {seen}", use_index.0),
                    ));
                }
                *seen += 1;
                let scale = self.checked_scale(name, x.scale.0.checked_add(w.scale.0))?;
                Ok(ValueInfo::elements(w.shape.outputs(), scale, MaskKind::Helper))
            }
            OpKind::PublicLinear { input, weights } => {
                let x = value(*input)?;
                let w = self.public.get(weights.index()).map(|tensor| &tensor.spec).ok_or_else(|| {
                    PlanError::op(name, format!("public weight tensor {} does not exist", weights.0))
                })?;
                expect_len(name, w.shape.inputs(), x.len)?;
                let scale = self.checked_scale(name, x.scale.0.checked_add(w.scale.0))?;
                Ok(ValueInfo::elements(w.shape.outputs(), scale, x.mask))
            }
            OpKind::Multiply { left, right } => {
                let (a, b) = (value(*left)?, value(*right)?);
                expect_shared(name, a)?;
                expect_shared(name, b)?;
                expect_len(name, a.len, b.len)?;
                let scale = self.checked_scale(name, a.scale.0.checked_add(b.scale.0))?;
                Ok(ValueInfo::elements(a.len, scale, MaskKind::Helper))
            }
            OpKind::Activation(a) => self.activation(name, a, value(a.input)?),
            OpKind::Add { left, left_shift, right, right_shift }
            | OpKind::Subtract { left, left_shift, right, right_shift } => {
                let (a, b) = (value(*left)?, value(*right)?);
                expect_len(name, a.len, b.len)?;
                let scale = self.checked_scale(name, a.scale.0.checked_add(*left_shift))?;
                let other = self.checked_scale(name, b.scale.0.checked_add(*right_shift))?;
                if scale != other {
                    let what = if matches!(op.kind, OpKind::Add { .. }) { "adds" } else { "subtracts" };
                    return Err(PlanError::op(name, format!("{what} values of scales {scale} and {other}")));
                }
                let mask = if a.mask == b.mask { a.mask } else { MaskKind::Helper };
                Ok(ValueInfo::elements(a.len, scale, mask))
            }
            OpKind::SumPool { input, pool } => {
                let x = value(*input)?;
                check_pool(name, pool)?;
                expect_len(name, pool.inputs(), x.len)?;
                Ok(ValueInfo { len: pool.outputs(), ..x })
            }
            OpKind::Slice { input, start, len } => {
                let x = value(*input)?;
                if *len == 0 || start.checked_add(*len).is_none_or(|end| end > x.len) {
                    return Err(PlanError::op(
                        name,
                        format!("elements {start}.. ({len}) of a value of {}", x.len),
                    ));
                }
                Ok(ValueInfo { len: *len, ..x })
            }
            OpKind::Concat { parts } => {
                let mut joined: Option<ValueInfo> = None;
                for part in parts {
                    let x = value(part.input)?;
                    let scale = self.checked_scale(name, x.scale.0.checked_add(part.shift))?;
                    joined = Some(match joined {
                        None => ValueInfo { scale, ..x },
                        Some(before) if before.scale == scale => ValueInfo {
                            len: before.len.saturating_add(x.len),
                            mask: if before.mask == x.mask { x.mask } else { MaskKind::Helper },
                            scale,
                            ..x
                        },
                        Some(before) => {
                            let reason = format!("joins values of scales {} and {scale}", before.scale);
                            return Err(PlanError::op(name, reason));
                        }
                    });
                }
                joined.ok_or_else(|| PlanError::op(name, "joins no values"))
            }
            OpKind::Weigh { input, rows, columns } => {
                let x = value(*input)?;
                check_weights(name, rows, columns, x.len)?;
                Ok(x)
            }
            OpKind::Compare(c) => self.compare(name, c, value(c.input)?),
            OpKind::Truncate(t) => self.truncate(name, t, value(t.input)?),
            OpKind::Select(s) => {
                let bits = s.bits.map(|id| Ok((id, any(id)?))).transpose()?;
                self.select(name, s, value(s.input)?, bits, s.base.map(value).transpose()?)
            }
            OpKind::Gather { input, size, rows, columns } => {
                let x = value(*input)?;
                let planes = check_gather(name, *size, rows, columns, x.len)?;
                let len = planes.saturating_mul(rows.len()).saturating_mul(columns.len());
                Ok(ValueInfo { len, ..x })
            }
            OpKind::Xnor { left, right } => {
                let (a, b) = (any(*left)?, any(*right)?);
                let one = ValueKind::Bits { thresholds: 1 };
                if a.kind != one || b.kind != one {
                    return Err(PlanError::op(name, "takes the bits of two comparisons of one threshold"));
                }
                expect_len(name, a.len, b.len)?;
                Ok(ValueInfo { kind: ValueKind::Bits { thresholds: 3 }, ..a })
            }
            OpKind::Outside(o) => {
                value(o.input)?;
                self.outside(name, o)
            }
        }
    }

    fn compare(&self, name: &str, c: &Compare, x: ValueInfo) -> Result<ValueInfo, PlanError> {
        let refuse = |reason: String| Err(PlanError::op(name, reason));
        let (most, bits) = MAX_DIGITS;
        if !(1..=most).contains(&c.digits.len()) || !c.digits.iter().all(|w| (1..=bits).contains(w)) {
            return refuse(format!("digits of {:?} bits, allowed 1 to {most} of 1 to {bits}", c.digits));
        }
        if c.window() > MAX_WINDOW {
            return refuse(format!("a window of {} bits, at most {MAX_WINDOW}", c.window()));
        }
        let thresholds = c.thresholds.len();
        if !(1..=MAX_THRESHOLDS).contains(&thresholds) {
            return refuse(format!("{thresholds} thresholds, allowed 1 to {MAX_THRESHOLDS}"));
        }
        let bits = (c.table_bits(), c.join_bits());
        if bits.0 > MAX_DEALT.0 || bits.1 > MAX_DEALT.1 {
            let reason = format!(
                "{} bits of tables and {} of joins an element, at most {} and {}",
                bits.0, bits.1, MAX_DEALT.0, MAX_DEALT.1
            );
            return refuse(reason);
        }
        let top = c.unit.saturating_add(c.window());
        if top > self.bits() {
            return Err(PlanError::Scale {
                op: name.to_owned(),
                needed: top,
                available: self.bits(),
                limbs: self.limbs.count(),
            });
        }
        // A threshold beyond half the modulus is no integer of the ring.
        if let Some(t) = c.thresholds.iter().find(|t| bits_of(**t) + 2 > self.bits()) {
            return refuse(format!("threshold {t} beyond the modulus of {} bits", self.bits()));
        }
        let kind = ValueKind::Bits { thresholds };
        Ok(ValueInfo { len: x.len, scale: ScaleBits(0), mask: MaskKind::Helper, kind })
    }

    fn outside(&self, name: &str, o: &Outside) -> Result<ValueInfo, PlanError> {
        if !(1..=MAX_NUMBERS).contains(&o.numbers) {
            let reason = format!("{} numbers, allowed 1 to {MAX_NUMBERS}", o.numbers);
            return Err(PlanError::op(name, reason));
        }
        let scale = self.checked_scale(name, Some(o.scale.0))?;
        Ok(ValueInfo::elements(o.numbers as usize, scale, MaskKind::Helper))
    }

    fn truncate(&self, name: &str, t: &Truncate, x: ValueInfo) -> Result<ValueInfo, PlanError> {
        let Some(shift) = x.scale.0.checked_sub(t.scale.0) else {
            let reason = format!("scale {} of the result above value scale {}", t.scale, x.scale);
            return Err(PlanError::op(name, reason));
        };
        self.check_bound(name, t.ell, shift)?;
        Ok(ValueInfo::elements(x.len, t.scale, MaskKind::Shared))
    }

    fn select(
        &self,
        name: &str,
        s: &Select,
        x: ValueInfo,
        bits: Option<(ValueId, ValueInfo)>,
        base: Option<ValueInfo>,
    ) -> Result<ValueInfo, PlanError> {
        let refuse = |reason: String| Err(PlanError::op(name, reason));
        let thresholds = match bits {
            None => 0,
            Some((_, ValueInfo { kind: ValueKind::Bits { thresholds }, len, .. })) => {
                expect_len(name, x.len, len)?;
                thresholds
            }
            Some((id, _)) => return refuse(format!("uses value {}, which is numbers, as bits", id.0)),
        };
        if s.polynomials.len() != thresholds + 1 {
            let got = s.polynomials.len();
            return refuse(format!(
                "{got} polynomials for {thresholds} thresholds, expected {}",
                thresholds + 1
            ));
        }
        if let Some(q) = s.polynomials.iter().find(|q| !(1..=9).contains(&q.len())) {
            return refuse(format!("polynomial of {} coefficients, allowed 1 to 9", q.len()));
        }
        let limit = MAX_COEFFICIENT.min(self.bits() - 1);
        if let Some(c) = s.polynomials.iter().flatten().find(|c| bits_of(**c) > limit) {
            return refuse(format!("coefficient {c}, allowed {limit} bits"));
        }
        let scale = self.checked_scale(name, Some(s.scale.0))?;
        let len = match &s.pool {
            None => x.len,
            Some(pool) => {
                check_pool(name, pool)?;
                expect_len(name, pool.inputs(), x.len)?;
                pool.outputs()
            }
        };
        if let Some(base) = base {
            expect_len(name, len, base.len)?;
            if base.scale != scale {
                return refuse(format!("adds a value of scale {} to a result of scale {scale}", base.scale));
            }
        }
        Ok(ValueInfo::elements(len, scale, MaskKind::Shared))
    }

    fn activation(&self, name: &str, a: &Activation, x: ValueInfo) -> Result<ValueInfo, PlanError> {
        if !(1..=8).contains(&a.degree()) {
            return Err(PlanError::op(name, format!("polynomial of degree {}, allowed 1 to 8", a.degree())));
        }
        let Some(shift) = x.scale.0.checked_sub(a.input_scale.0) else {
            return Err(PlanError::op(
                name,
                format!("argument scale {} above value scale {}", a.input_scale, x.scale),
            ));
        };
        self.check_bound(name, a.ell, shift)?;
        let degree = u32::try_from(a.degree()).unwrap_or(u32::MAX);
        let scale = a.input_scale.0.checked_mul(degree).and_then(|s| s.checked_add(a.coefficient_scale.0));
        let scale = self.checked_scale(name, scale)?;
        let len = match &a.pool {
            None => x.len,
            Some(pool) => {
                check_pool(name, pool)?;
                expect_len(name, pool.inputs(), x.len)?;
                pool.outputs()
            }
        };
        Ok(ValueInfo::elements(len, scale, MaskKind::Shared))
    }

    fn check_output(&self, values: &[ValueInfo]) -> Result<(), PlanError> {
        let out = &self.output;
        let Some(x) = values.get(out.value.index()) else {
            return Err(PlanError::op("output", format!("value {} does not exist", out.value.0)));
        };
        if out.value == ValueId::INPUT {
            return Err(PlanError::op("output", "the client's input is not a result"));
        }
        if x.kind != ValueKind::Elements {
            return Err(PlanError::op("output", "bits are not a result"));
        }
        let Some(shift) = x.scale.0.checked_sub(out.scale.0) else {
            return Err(PlanError::op(
                "output",
                format!("scale {} above value scale {}", out.scale, x.scale),
            ));
        };
        let behind = out.watch as usize + out.reveal.as_ref().map_or(0, |reveal| reveal.ops as usize);
        let unwatched = self.ops.len().checked_sub(out.watch as usize).filter(|&first| first > 0);
        if out.watch > 0 {
            let fits = |(main, found): (ValueId, ValueId)| {
                let last = ValueId(self.ops.len() as u32);
                let own = unwatched.is_some_and(|first| (1..=first).contains(&main.index()));
                own && out.value == last && values[found.index()].len == self.telling()
            };
            if !self.watched().is_some_and(fits) {
                let reason = "the operations that look for values outside do not end in what they found beside the result";
                return Err(PlanError::op("output", reason));
            }
            self.check_telling(shift)?;
        }
        if let Some(reveal) = &out.reveal {
            let last = self.ops.len().checked_sub(behind).filter(|&last| last > 0);
            let main = self.watched().map_or(out.value, |(main, _)| main);
            self.check_reveal(reveal, values, last, main)?;
        }
        self.check_bound("output", out.ell, shift)
    }

    /// What is found is seen although outputs lose bits.
    fn check_telling(&self, shift: u32) -> Result<(), PlanError> {
        let random = self.ops.iter().any(|op| matches!(op.kind, OpKind::Outside(_)));
        let enough = Plan::enough_to_tell(self.limbs, shift).is_some_and(|n| n as usize <= self.telling());
        if random && !enough {
            let reason = format!(
                "{} numbers that lose {shift} bits are too few to tell of values outside",
                self.telling()
            );
            return Err(PlanError::op("output", reason));
        }
        Ok(())
    }

    /// Labels come from operations behind the network's `last`, and are as many as the plan says.
    fn check_reveal(
        &self,
        reveal: &Reveal,
        values: &[ValueInfo],
        last: Option<usize>,
        labels: ValueId,
    ) -> Result<(), PlanError> {
        let refuse = |reason: String| Err(PlanError::op("labels", reason));
        let Some(last) = last.filter(|last| (1..=*last).contains(&reveal.hidden.index())) else {
            return refuse(format!("value {} is no result of the network", reveal.hidden.0));
        };
        let most = reveal.choices.iter().map(|c| c.classes).min().unwrap_or(0);
        if most < 2 || !(1..=most.min(MAX_LABELS)).contains(&reveal.labels) {
            let limit = most.min(MAX_LABELS);
            return refuse(format!("{} labels of {most} classes, allowed 1 to {limit}", reveal.labels));
        }
        let mut numbers = 0usize;
        for c in &reveal.choices {
            numbers = numbers.saturating_add((c.classes as usize).saturating_mul(c.places as usize));
        }
        if reveal.choices.iter().any(|c| c.places == 0) {
            return refuse("a choice at no place".to_owned());
        }
        let hidden = values[reveal.hidden.index()];
        if hidden.kind != ValueKind::Elements || hidden.len != numbers {
            return refuse(format!("{numbers} numbers to choose from, the network gives {}", hidden.len));
        }
        let shown = values[labels.index()];
        let scales = (shown.scale.0, self.output.scale.0);
        if labels.index() <= last || shown.len != reveal.len() || scales != (0, 0) {
            return refuse(format!("value {} does not hold {} labels", labels.0, reveal.len()));
        }
        match hidden.scale.0.checked_sub(reveal.scale.0) {
            Some(shift) => self.check_bound("labels", reveal.ell, shift),
            None => refuse(format!("scale {} above value scale {}", reveal.scale, hidden.scale)),
        }
    }

    /// Statistical truncation: `sum N 2^(ell+1) <= Q / 2^40` over all activations that use it.
    fn check_statistical(&self, values: &[ValueInfo]) -> Result<(), PlanError> {
        let mut bound = 0f64;
        for op in &self.ops {
            if let OpKind::Activation(a) = &op.kind
                && a.wrap == WrapRule::Statistical
            {
                bound += values[a.input.index()].len as f64 * 2f64.powi(a.ell as i32 + 1);
                // Q is a little below 2^(52 L); 2^-40 of room is far more than that and the
                // rounding of `bound`.
                if bound.log2() > f64::from(self.bits()) - 40.0 - 1e-6 {
                    return Err(PlanError::Scale {
                        op: op.name.clone(),
                        needed: bound.log2().ceil() as u32 + 40,
                        available: self.bits(),
                        limbs: self.limbs.count(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Bits of the modulus, rounded up.
    pub fn bits(&self) -> u32 {
        52 * self.limbs.count() as u32
    }

    fn check_bound(&self, name: &str, ell: u32, shift: u32) -> Result<(), PlanError> {
        if shift > ell {
            return Err(PlanError::op(name, format!("drops {shift} bits of a value of {ell}")));
        }
        // 2^(ell+1) <= Q/2, and Q lies strictly between 2^(bits-1) and 2^bits.
        if ell.saturating_add(3) > self.bits() {
            return Err(PlanError::Scale {
                op: name.to_owned(),
                needed: ell.saturating_add(3),
                available: self.bits(),
                limbs: self.limbs.count(),
            });
        }
        Ok(())
    }

    fn checked_scale(&self, name: &str, scale: Option<u32>) -> Result<ScaleBits, PlanError> {
        let scale = scale.unwrap_or(u32::MAX);
        if scale >= self.bits() {
            return Err(PlanError::Scale {
                op: name.to_owned(),
                needed: scale.saturating_add(1),
                available: self.bits(),
                limbs: self.limbs.count(),
            });
        }
        Ok(ScaleBits(scale))
    }
}

fn expect_shared(name: &str, x: ValueInfo) -> Result<(), PlanError> {
    match x.mask {
        MaskKind::Shared => Ok(()),
        MaskKind::Helper => Err(PlanError::op(
            name,
            "multiplies a value whose mask is not shared; an activation (or merging the two linear layers) must come between",
        )),
    }
}

fn expect_len(name: &str, expected: usize, got: usize) -> Result<(), PlanError> {
    if expected == got {
        Ok(())
    } else {
        Err(PlanError::op(name, format!("expects {expected} elements, gets {got}")))
    }
}

fn check_linear(name: &str, shape: &LinearShape) -> Result<(), PlanError> {
    shape.validate().map_err(|e| PlanError::op(name, e.to_string()))
}

/// Factors by row and column: small, not 0, and as many as some number of images of that size have.
fn check_weights(name: &str, rows: &[u32], columns: &[u32], len: usize) -> Result<(), PlanError> {
    if let Some(factor) = rows.iter().chain(columns).find(|f| !(1..=MAX_FACTOR).contains(*f)) {
        return Err(PlanError::op(name, format!("factor {factor}, allowed 1 to {MAX_FACTOR}")));
    }
    match rows.len().checked_mul(columns.len()) {
        Some(plane) if plane > 0 && len.is_multiple_of(plane) => Ok(()),
        _ => {
            let reason = format!("factors for images of {} x {}, {len} elements", rows.len(), columns.len());
            Err(PlanError::op(name, reason))
        }
    }
}

/// Rows and columns of images of one size; returns how many images there are.
fn check_gather(
    name: &str,
    size: [usize; 2],
    rows: &[u32],
    columns: &[u32],
    len: usize,
) -> Result<usize, PlanError> {
    let [height, width] = size;
    let refuse = |reason: String| Err(PlanError::op(name, reason));
    for (what, picked, size) in [("row", rows, height), ("column", columns, width)] {
        if let Some(at) = picked.iter().find(|&&at| at as usize >= size) {
            return refuse(format!("{what} {at} of images of {height} x {width}"));
        }
    }
    match height.checked_mul(width) {
        Some(plane) if plane > 0 && len.is_multiple_of(plane) => Ok(len / plane),
        _ => refuse(format!("images of {height} x {width} in a value of {len} elements")),
    }
}

/// Bits of the size of an integer.
fn bits_of(x: i128) -> u32 {
    128 - x.unsigned_abs().leading_zeros()
}

fn check_pool(name: &str, pool: &SumPool2d) -> Result<(), PlanError> {
    pool.validate().map_err(|e| PlanError::op(name, e.to_string()))
}
