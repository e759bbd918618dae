//! The cost-quality plane as a picture (SVG): every baseline and the policy's curve, on light or dark paper.
//!
//! Drawn by hand: a scatter plot is some lines of text, and the plotting libraries at hand have no picture that follows
//! the reader's colours.

use std::fmt::Write as _;

use super::figures::{Point, hull};
use super::report::Report;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 64.0;
const TICKS: usize = 5;

const STYLE: &str = "\
    svg{--paper:#fff;--ink:#1c2430;--faint:#d5dae1;--policy:#c2410c;--fixed:#475569;--learnt:#0f766e;--oracle:#7c3aed;\
    background:var(--paper);font:13px system-ui,sans-serif}\
    @media(prefers-color-scheme:dark){svg{--paper:#12161d;--ink:#e6e9ee;--faint:#303947;--policy:#fb923c;\
    --fixed:#a3b0c2;--learnt:#2dd4bf;--oracle:#c4b5fd}}\
    text{fill:var(--ink)}.title{font-size:16px;font-weight:600}.grid{stroke:var(--faint)}\
    .axis{stroke:var(--ink)}.line{fill:none;stroke-width:2}.mix{stroke-dasharray:5 4}";

/// Where points come to lie.
struct Frame {
    cost_max: f64,
    score_min: f64,
    score_max: f64,
}

impl Frame {
    fn around(points: &[Point]) -> Self {
        let scores = || points.iter().map(|point| point.score);
        let (low, high) =
            (scores().fold(f64::INFINITY, f64::min), scores().fold(f64::NEG_INFINITY, f64::max));
        let margin = ((high - low) * 0.08).max(0.005);
        let cost_max = points.iter().map(|point| point.cost).fold(0.0, f64::max);
        Self {
            cost_max: if cost_max > 0.0 { cost_max * 1.06 } else { 1.0 },
            score_min: low - margin,
            score_max: high + margin,
        }
    }

    fn x(&self, cost: f64) -> f64 {
        LEFT + cost / self.cost_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, score: f64) -> f64 {
        let share = (score - self.score_min) / (self.score_max - self.score_min);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

impl Report {
    /// The evaluation as a picture.
    pub fn to_svg(&self) -> String {
        let curve: Vec<Point> =
            self.curve.iter().flat_map(|curve| curve.points.iter().map(|at| at.point)).collect();
        let fixed: Vec<Point> = self.fixed.iter().map(|one| one.point).collect();
        let others = [Some(&self.oracle), self.neighbours.as_ref()];
        let all: Vec<Point> = fixed
            .iter()
            .chain(&curve)
            .copied()
            .chain(others.iter().flatten().map(|one| one.point))
            .chain([self.point])
            .collect();
        let frame = Frame::around(&all);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"mean score against mean cost\"><style>{STYLE}</style>"
        );
        axes(&mut svg, &frame, &self.policy);
        line(&mut svg, &frame, &hull(&fixed), "fixed", "mix");
        if !curve.is_empty() {
            line(&mut svg, &frame, &curve, "policy", "");
            curve.iter().for_each(|point| dot(&mut svg, &frame, *point, "policy", 3.0));
        }
        for one in &self.fixed {
            dot(&mut svg, &frame, one.point, "fixed", 5.0);
            label(
                &mut svg,
                frame.x(one.point.cost) + 9.0,
                frame.y(one.point.score) + 4.0,
                "start",
                "",
                &one.name,
            );
        }
        if let Some(neighbours) = &self.neighbours {
            dot(&mut svg, &frame, neighbours.point, "learnt", 5.0);
        }
        dot(&mut svg, &frame, self.oracle.point, "oracle", 5.0);
        dot(&mut svg, &frame, self.point, "policy", 7.0);
        let mut entries = vec![("policy", "", "the policy"), ("fixed", "", "one target always")];
        entries.push(("fixed", "mix", "random mix of targets"));
        if self.neighbours.is_some() {
            entries.push(("learnt", "", "nearest neighbours"));
        }
        entries.push(("oracle", "", "oracle"));
        legend(&mut svg, &entries);
        svg.push_str("</svg>\n");
        svg
    }
}

fn axes(svg: &mut String, frame: &Frame, policy: &str) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        let (cost, score) =
            (frame.cost_max * share, frame.score_min + (frame.score_max - frame.score_min) * share);
        let (x, y) = (frame.x(cost), frame.y(score));
        // Writing to a string does not fail.
        let _infallible =
            write!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}M{LEFT} {y:.1}H{right}\"/>");
        label(svg, x, bottom + 20.0, "middle", "", &amount(cost * 1000.0));
        label(svg, LEFT - 8.0, y + 4.0, "end", "", &format!("{score:.3}"));
    }
    let _infallible =
        write!(svg, "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
    label(svg, (LEFT + right) / 2.0, HEIGHT - 18.0, "middle", "", "mean cost, USD for 1000 prompts");
    let middle = (TOP + bottom) / 2.0;
    let _infallible = write!(
        svg,
        "<text text-anchor=\"middle\" transform=\"translate(22 {middle}) rotate(-90)\">mean score</text>"
    );
    label(svg, LEFT, 30.0, "start", "title", policy);
}

fn amount(usd: f64) -> String {
    if usd >= 100.0 || usd == 0.0 { format!("{usd:.0}") } else { format!("{usd:.2}") }
}

fn line(svg: &mut String, frame: &Frame, points: &[Point], colour: &str, class: &str) {
    let mut path = String::new();
    for (place, point) in points.iter().enumerate() {
        let step = if place == 0 { 'M' } else { 'L' };
        let _infallible = write!(path, "{step}{:.1} {:.1}", frame.x(point.cost), frame.y(point.score));
    }
    let _infallible =
        write!(svg, "<path class=\"line {class}\" style=\"stroke:var(--{colour})\" d=\"{path}\"/>");
}

fn dot(svg: &mut String, frame: &Frame, point: Point, colour: &str, radius: f64) {
    let (x, y) = (frame.x(point.cost), frame.y(point.score));
    let _infallible =
        write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" style=\"fill:var(--{colour})\"/>");
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let _infallible = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{escaped}</text>"
    );
}

fn legend(svg: &mut String, entries: &[(&str, &str, &str)]) {
    let x = WIDTH - RIGHT + 24.0;
    for (place, (colour, class, text)) in entries.iter().enumerate() {
        let y = TOP + 14.0 + 24.0 * place as f64;
        let _infallible = match *class {
            "" => {
                write!(svg, "<circle cx=\"{}\" cy=\"{y}\" r=\"5\" style=\"fill:var(--{colour})\"/>", x + 10.0)
            }
            class => write!(
                svg,
                "<path class=\"line {class}\" style=\"stroke:var(--{colour})\" d=\"M{x} {y}h20\"/>"
            ),
        };
        label(svg, x + 28.0, y + 4.0, "start", "", text);
    }
}
