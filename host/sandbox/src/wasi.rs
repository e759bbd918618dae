//! WASI for guests whose toolchain links it unasked: enough to start and to panic, and nothing else.
//!
//! A Rust, Go or Python guest imports a dozen interfaces of `wasi` although its policy uses none. The few
//! functions that a start or a panic runs through are answered with nothing: no environment, no arguments,
//! no folders, a clock that stands still at 1970, numbers that follow from the request's id; standard error
//! is kept for the log. Every other function of an imported interface is there to be linked, and ends the
//! call with a denial when it is used. No code of a real WASI implementation is reachable from here.

use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use crate::call::Call;
use crate::stop::Stop;

/// Random bytes that one call of WASI's gives at most.
const RANDOM_BYTES_MAX: u64 = 4096;

struct InputStream;
struct OutputStream;
struct IoError;
struct Pollable;
struct Terminal;
struct Descriptor;

/// Output streams are told apart by their number; only standard error is kept.
const STANDARD_OUTPUT: u32 = 1;
const STANDARD_ERROR: u32 = 2;

#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(dead_code, reason = "the shape is WASI's; no stream here fails in the first way")]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Defines every interface of `wasi` that the component imports.
pub(crate) fn link(linker: &mut Linker<Call>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (import, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        if !import.starts_with("wasi:") {
            continue;
        }
        let mut instance = linker.instance(import)?;
        for (name, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) => {
                    instance.resource(name, resource_type(name), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) if !define_harmless(&mut instance, import, name)? => {
                    define_denied(&mut instance, import, name)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Interfaces that use a resource of another's name it as that one does, so the name tells which it is.
fn resource_type(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "terminal-input" | "terminal-output" => ResourceType::host::<Terminal>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        // Nothing makes one of these, so that all may be one type.
        _ => ResourceType::host_dynamic(0),
    }
}

fn define_denied(instance: &mut LinkerInstance<'_, Call>, import: &str, name: &str) -> wasmtime::Result<()> {
    let what = format!("{}.{name}", unversioned(import));
    instance.func_new(name, move |_, _, _, _| Err(Stop::Denied { what: what.clone() }.into()))
}

fn unversioned(import: &str) -> &str {
    import.split_once('@').map_or(import, |(interface, _)| interface)
}

type Context<'a> = StoreContextMut<'a, Call>;

/// Defines a function that a start or a panic runs through. False when it is none of these.
fn define_harmless(
    instance: &mut LinkerInstance<'_, Call>,
    import: &str,
    name: &str,
) -> wasmtime::Result<bool> {
    match (unversioned(import), name) {
        ("wasi:cli/environment", "get-environment") => constant(instance, name, Vec::<(String, String)>::new),
        ("wasi:cli/environment", "get-arguments") => constant(instance, name, Vec::<String>::new),
        ("wasi:cli/environment", "initial-cwd") => constant(instance, name, || None::<String>),
        ("wasi:cli/exit", "exit") => instance
            .func_wrap(name, |_: Context<'_>, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
                Err(Stop::Exit.into())
            }),
        ("wasi:cli/stdin", "get-stdin") => constant(instance, name, || Resource::<InputStream>::new_own(0)),
        ("wasi:cli/stdout", "get-stdout") => {
            constant(instance, name, || Resource::<OutputStream>::new_own(STANDARD_OUTPUT))
        }
        ("wasi:cli/stderr", "get-stderr") => {
            constant(instance, name, || Resource::<OutputStream>::new_own(STANDARD_ERROR))
        }
        ("wasi:cli/terminal-stdin" | "wasi:cli/terminal-stdout" | "wasi:cli/terminal-stderr", _) => {
            constant(instance, name, || None::<Resource<Terminal>>)
        }
        ("wasi:io/streams", _) => return define_stream(instance, name),
        // The one thing that can be waited for is a stream, which is always ready.
        ("wasi:io/poll", "[method]pollable.block") => instance
            .func_wrap(name, |mut context: Context<'_>, (_,): (Resource<Pollable>,)| {
                Ok(context.data_mut().enter_wasi()?)
            }),
        ("wasi:clocks/monotonic-clock", "now") => constant(instance, name, || 0u64),
        ("wasi:clocks/monotonic-clock", "resolution") => constant(instance, name, || 1u64),
        ("wasi:clocks/wall-clock", "now" | "resolution") => {
            constant(instance, name, || Datetime { seconds: 0, nanoseconds: 0 })
        }
        ("wasi:random/random" | "wasi:random/insecure", _) => return define_random(instance, name),
        ("wasi:random/insecure-seed", "insecure-seed") => {
            instance.func_wrap(name, |mut context: Context<'_>, (): ()| {
                let call = context.data_mut();
                call.enter_wasi()?;
                Ok(((call.random(), call.random()),))
            })
        }
        ("wasi:filesystem/preopens", "get-directories") => {
            constant(instance, name, Vec::<(Resource<Descriptor>, String)>::new)
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn constant<T>(
    instance: &mut LinkerInstance<'_, Call>,
    name: &str,
    value: impl Fn() -> T + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    T: ComponentType + Lower + Send + Sync + 'static,
{
    instance.func_wrap(name, move |mut context: Context<'_>, (): ()| {
        context.data_mut().enter_wasi()?;
        Ok((value(),))
    })
}

fn define_random(instance: &mut LinkerInstance<'_, Call>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-random-u64" | "get-insecure-random-u64" => {
            instance.func_wrap(name, |mut context: Context<'_>, (): ()| {
                let call = context.data_mut();
                call.enter_wasi()?;
                Ok((call.random(),))
            })
        }
        "get-random-bytes" | "get-insecure-random-bytes" => {
            instance.func_wrap(name, |mut context: Context<'_>, (length,): (u64,)| {
                let call = context.data_mut();
                call.enter_wasi()?;
                if length > RANDOM_BYTES_MAX {
                    let what = format!("{length} random bytes at once");
                    return Err(Stop::Denied { what }.into());
                }
                let bytes: Vec<u8> = (0..length).map(|_| call.random().to_le_bytes()[0]).collect();
                Ok((bytes,))
            })
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

type Written = (Result<(), StreamError>,);

fn define_stream(instance: &mut LinkerInstance<'_, Call>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            instance.func_wrap(name, |mut context: Context<'_>, _: (Resource<InputStream>, u64)| {
                context.data_mut().enter_wasi()?;
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            })
        }
        "[method]output-stream.subscribe" => {
            instance.func_wrap(name, |mut context: Context<'_>, (_,): (Resource<OutputStream>,)| {
                context.data_mut().enter_wasi()?;
                Ok((Resource::<Pollable>::new_own(0),))
            })
        }
        "[method]output-stream.check-write" => {
            instance.func_wrap(name, |mut context: Context<'_>, (_,): (Resource<OutputStream>,)| {
                context.data_mut().enter_wasi()?;
                Ok((Ok::<u64, StreamError>(4096),))
            })
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => instance
            .func_wrap(
                name,
                |mut context: Context<'_>, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| {
                    let call = context.data_mut();
                    call.enter_wasi()?;
                    if stream.rep() == STANDARD_ERROR {
                        call.write_standard_error(&bytes);
                    }
                    let written: Written = (Ok(()),);
                    Ok(written)
                },
            ),
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            instance.func_wrap(name, |mut context: Context<'_>, (_,): (Resource<OutputStream>,)| {
                context.data_mut().enter_wasi()?;
                let written: Written = (Ok(()),);
                Ok(written)
            })
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}
