//! Running a compiled template with every step that could grow without bound replaced by our own.
//!
//! The engine's fuel counts instructions and bytes, but not the items that `+`, `*` and slices of
//! lists go through, nor the size of what nested lists share: forty instructions can double a list
//! forty times, or nest it in itself so that printing it never ends. Those instructions are replaced,
//! one for one, by calls of `operators.rs`, and a value is checked before a namespace keeps it.
//! Templates cannot include others. The replacement uses the engine's unstable interface, whose
//! version `Cargo.lock` fixes.

use std::borrow::Cow;

use minijinja::machinery::{self, Instruction, Instructions};
use minijinja::{AutoEscape, Environment, Error, Value};

use super::operators;

/// Renders the template called `name`.
pub(super) fn render(environment: &Environment<'_>, name: &str, context: Value) -> Result<String, Error> {
    let template = environment.get_template(name)?;
    let compiled = machinery::get_compiled_template(&template);
    let instructions = guarded(&compiled.instructions);
    let blocks = compiled.blocks.iter().map(|(name, block)| (*name, guarded(block))).collect();
    let mut text = String::new();
    let mut output = machinery::make_string_output(&mut text);
    machinery::eval(environment, &instructions, context, &blocks, &mut output, AutoEscape::None)?;
    Ok(text)
}

/// The same instructions with the unbounded ones replaced, and jumps adjusted to what was inserted.
fn guarded<'source>(instructions: &Instructions<'source>) -> Instructions<'source> {
    let mut guarded = Instructions::new(instructions.name(), instructions.source());
    let mut moved = Vec::new();
    for index in 0.. {
        let Some(instruction) = instructions.get(index) else { break };
        let line = instructions.get_line(index).and_then(|line| u16::try_from(line).ok());
        let mut first = None;
        for replacement in replaced(instruction).iter() {
            let at = match line {
                Some(line) => guarded.add_with_line(replacement.clone(), line),
                None => guarded.add(replacement.clone()),
            };
            first.get_or_insert(at);
        }
        moved.push(first.unwrap_or_default());
    }
    let end = moved.last().map_or(0, |last| last + 1);
    let target = |old: u32| moved.get(old as usize).copied().unwrap_or(end);
    for index in 0.. {
        match guarded.get_mut(index) {
            None => break,
            Some(
                Instruction::Iterate(to)
                | Instruction::Jump(to)
                | Instruction::JumpIfFalse(to)
                | Instruction::JumpIfFalseOrPop(to)
                | Instruction::JumpIfTrueOrPop(to)
                | Instruction::BuildMacro(_, to, _),
            ) => *to = target(*to),
            Some(_) => {}
        }
    }
    guarded
}

fn replaced<'i, 'source>(instruction: &'i Instruction<'source>) -> Cow<'i, [Instruction<'source>]> {
    let call = |name: &'static str, arguments: usize| match u16::try_from(arguments) {
        Ok(arguments) => Cow::Owned(vec![Instruction::CallFunction(name, Some(arguments))]),
        // More constants than any template has; the plain instruction costs a step an item.
        Err(_) => Cow::Borrowed(std::slice::from_ref(instruction)),
    };
    match instruction {
        Instruction::Add => call(operators::ADD, 2),
        Instruction::Mul => call(operators::MULTIPLY, 2),
        Instruction::Rem => call(operators::REMAINDER, 2),
        Instruction::StringConcat => call(operators::JOIN, 2),
        Instruction::Slice => call(operators::SLICE, 4),
        Instruction::GetItem => call(operators::ITEM, 2),
        Instruction::BuildList(Some(items)) => call(operators::LIST, *items),
        Instruction::BuildTuple(Some(items)) => call(operators::TUPLE, *items),
        Instruction::BuildMap(pairs) => call(operators::MAP, pairs * 2),
        Instruction::Include(_) | Instruction::LoadBlocks => call(operators::INCLUDE, 1),
        Instruction::SetAttr(_) => Cow::Owned(vec![
            Instruction::Swap,
            Instruction::CallFunction(operators::STORED, Some(1)),
            Instruction::Swap,
            instruction.clone(),
        ]),
        other => Cow::Borrowed(std::slice::from_ref(other)),
    }
}
