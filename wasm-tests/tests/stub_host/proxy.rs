//! A proxy made of plain data: it runs the built filter, and writes down every host call.

use graylane_wasm_tests::places;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use wasmtime::{
    Caller, Config, Engine, Instance, Linker, Memory, Module, Result, Store, TypedFunc, WasmParams,
    WasmResults,
};

/// Header names and values, in order.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// Statuses of the ABI.
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const INVALID_MEMORY_ACCESS: u32 = 6;

/// The module is compiled once for all tests: that takes longer than any of them.
static FILTER: LazyLock<(Engine, Module)> = LazyLock::new(|| {
    let path = match std::env::var_os("GRAYLANE_FILTER_WASM") {
        Some(path) => PathBuf::from(path),
        None => places::filter().unwrap(),
    };
    let engine = Engine::new(Config::new().consume_fuel(true)).unwrap();
    let module = Module::from_file(&engine, &path).unwrap();
    (engine, module)
});

/// One VM with the filter in it, and one plugin whose configuration changes.
pub struct Proxy {
    store: Store<World>,
    instance: Instance,
    memory: Memory,
    next_context: u32,
}

/// What a request cost, in figures that are the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Host calls.
    pub calls: u64,
    /// Instructions of the filter, as wasmtime counts them.
    pub fuel: u64,
    /// Bytes that the filter allocated, freed ones included.
    pub allocated: u64,
}

/// What the filter can see and touch.
#[derive(Default)]
pub struct World {
    /// The plugin whose configuration comes next.
    pub plugin_name: String,
    /// The host calls that are refused, each with its status, as a proxy with fewer capabilities does.
    pub refused: BTreeMap<&'static str, u32>,
    /// Places that the proxy asks for before the one that it uses, in each call that brings bytes.
    pub idle_places: usize,
    /// The lines of the log, each with its level.
    pub log: Vec<(u32, String)>,
    configuration: Vec<u8>,
    headers: Headers,
    calls: Vec<String>,
    metrics: Vec<Metric>,
}

/// A metric that the filter defined.
struct Metric {
    kind: u32,
    name: String,
    value: u64,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The headers that go on to the routes and the upstream.
    pub headers: Headers,
    /// The host calls in order.
    pub calls: Vec<String>,
}

// === impl Proxy ===

impl Proxy {
    /// A fresh VM whose plugin has its first configuration. Gives the answer of `on_configure` too.
    pub fn start(configuration: &[u8]) -> (Self, bool) {
        let (engine, module) = &*FILTER;
        let mut store =
            Store::new(engine, World { plugin_name: "graylane.v1.retail".into(), ..World::default() });
        let instance = linker(engine, module).unwrap().instantiate(&mut store, module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        store.set_fuel(u64::MAX).unwrap();
        let mut proxy = Self { store, instance, memory, next_context: 1 };
        let answer = proxy.configure(configuration);
        (proxy, answer)
    }

    /// Like [`Proxy::start`] with a configuration that must be good.
    pub fn with(configuration: &[u8]) -> Self {
        let (mut proxy, answer) = Self::start(configuration);
        assert!(answer);
        assert_eq!(proxy.metric("graylane_config_rejected"), Some(0), "{:?}", proxy.world().log);
        proxy.calls();
        proxy
    }

    /// Configures as Envoy does: in a new root context each time.
    pub fn configure(&mut self, configuration: &[u8]) -> bool {
        let root = self.context();
        self.world().configuration = configuration.to_vec();
        self.call::<_, u32>("proxy_on_configure", (root, configuration.len() as u32)) == 1
    }

    /// One request.
    pub fn request(&mut self, headers: Headers) -> Outcome {
        self.calls();
        let (context, count) = (self.context(), headers.len() as u32);
        self.world().headers = headers;
        let action = self.call::<_, u32>("proxy_on_request_headers", (context, count, 1_u32));
        assert_eq!(action, 0, "a request is never held up");
        Outcome { calls: self.calls(), headers: std::mem::take(&mut self.world().headers) }
    }

    /// What a request costs, once an equal one came before: the first one may define its counter.
    pub fn cost(&mut self, headers: &Headers) -> Cost {
        self.request(headers.clone());
        let allocated = self.call::<_, u64>("graylane_allocated_bytes", ());
        let fuel = self.store.get_fuel().unwrap();
        let calls = self.request(headers.clone()).calls.len() as u64;
        let fuel = fuel - self.store.get_fuel().unwrap();
        let allocated = self.call::<_, u64>("graylane_allocated_bytes", ()) - allocated;
        Cost { calls, fuel, allocated }
    }

    /// The functions that a proxy can call.
    pub fn exports() -> Vec<&'static str> {
        let functions = FILTER.1.exports().filter(|export| export.ty().func().is_some());
        functions.map(|export| export.name()).collect()
    }

    /// The host calls since the last time.
    pub fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    /// The value of a metric, if it is defined.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.store.data().metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    /// How often a metric was defined.
    pub fn definitions(&self) -> usize {
        self.store.data().metrics.len()
    }

    /// Bytes of the VM's memory, which only grows.
    pub fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// What the filter can see and touch.
    pub fn world(&mut self) -> &mut World {
        self.store.data_mut()
    }

    /// The number of a new context, a request's or a root's. Nobody tells the filter of it: it does not want to know.
    fn context(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, callback: &str, arguments: P) -> R {
        let function: TypedFunc<P, R> = self.instance.get_typed_func(&mut self.store, callback).unwrap();
        let answer = function.call(&mut self.store, arguments);
        answer.unwrap_or_else(|trap| panic!("{callback}: {trap:?}\n{:?}", self.world().log))
    }
}

/// The host calls that the filter may make. Any other one traps.
fn linker(engine: &Engine, module: &Module) -> Result<Linker<World>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("env", "proxy_log", |mut host: Host<'_>, level: u32, text: u32, bytes: u32| {
        let line = host.text(text, bytes);
        host.answer("log", line.clone(), |world| {
            world.log.push((level, line));
            Ok(())
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut host: Host<'_>, buffer: u32, start: u32, bytes: u32, data: u32, size: u32| {
            host.give("get_buffer_bytes", format!("{buffer}"), (data, size), |world| {
                let end = start.checked_add(bytes).ok_or(BAD_ARGUMENT)? as usize;
                world.configuration.get(start as usize..end).map(<[u8]>::to_vec).ok_or(BAD_ARGUMENT)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut host: Host<'_>, path: u32, bytes: u32, data: u32, size: u32| {
            let path = host.text(path, bytes);
            host.give("get_property", path.clone(), (data, size), |world| match path.as_str() {
                "plugin_name" => Ok(world.plugin_name.clone().into_bytes()),
                _ => Err(NOT_FOUND),
            })
        },
    )?;
    add_header_calls(&mut linker)?;
    add_metric_calls(&mut linker)?;
    linker.define_unknown_imports_as_traps(module)?;
    Ok(linker)
}

fn add_header_calls(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut host: Host<'_>, map: u32, data: u32, size: u32| {
            host.give("get_header_map_pairs", format!("{map}"), (data, size), |world| {
                Ok(serialised(&world.headers))
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut host: Host<'_>, _map: u32, name: u32, bytes: u32, data: u32, size: u32| {
            let name = host.text(name, bytes);
            host.give("get_header_map_value", name.clone(), (data, size), |world| {
                let found = world.headers.iter().find(|(known, _)| known == name.as_bytes());
                found.map(|(_, value)| value.clone()).ok_or(NOT_FOUND)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut host: Host<'_>, _map: u32, name: u32, name_bytes: u32, value: u32, value_bytes: u32| {
            let (name, value) = (host.text(name, name_bytes), host.text(value, value_bytes));
            host.answer("replace_header_map_value", format!("{name}={value}"), |world| {
                // Envoy leaves one header of the name, whatever there was before.
                world.headers.retain(|(known, _)| known != name.as_bytes());
                world.headers.push((name.into_bytes(), value.into_bytes()));
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut host: Host<'_>, _map: u32, name: u32, bytes: u32| {
            let name = host.text(name, bytes);
            host.answer("remove_header_map_value", name.clone(), |world| {
                world.headers.retain(|(known, _)| known != name.as_bytes());
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn add_metric_calls(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut host: Host<'_>, kind: u32, name: u32, bytes: u32, id: u32| {
            let name = host.text(name, bytes);
            let number = host.data().metrics.len() as u32;
            let status = host.answer("define_metric", name.clone(), |world| {
                world.metrics.push(Metric { kind, name, value: 0 });
                Ok(())
            });
            if status == OK {
                host.write_u32(id, number);
            }
            status
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |mut host: Host<'_>, id: u32, by: i64| {
        let name = host.metric_name(id);
        host.answer("increment_metric", name, |world| {
            let counter = world.metrics.get_mut(id as usize).filter(|metric| metric.kind == 0);
            counter.map(|counter| counter.value += by as u64).ok_or(BAD_ARGUMENT)
        })
    })?;
    linker.func_wrap("env", "proxy_record_metric", |mut host: Host<'_>, id: u32, value: u64| {
        let name = host.metric_name(id);
        host.answer("record_metric", format!("{name}={value}"), |world| {
            let gauge = world.metrics.get_mut(id as usize).filter(|metric| metric.kind == 1);
            gauge.map(|gauge| gauge.value = value).ok_or(BAD_ARGUMENT)
        })
    })?;
    Ok(())
}

fn serialised(headers: &Headers) -> Vec<u8> {
    let mut bytes = (headers.len() as u32).to_le_bytes().to_vec();
    for (name, value) in headers {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in headers {
        bytes.extend([name, &b"\0"[..], value, &b"\0"[..]].concat());
    }
    bytes
}

/// The filter, from inside a host call.
type Host<'a> = Caller<'a, World>;

trait HostCall {
    fn memory(&mut self) -> Memory;
    fn text(&mut self, at: u32, bytes: u32) -> String;
    fn write_u32(&mut self, at: u32, value: u32);
    fn metric_name(&self, id: u32) -> String;
    /// A place for so many bytes, by the filter's own means; after [`World::idle_places`] others.
    fn place(&mut self, bytes: u32) -> u32;
    /// Writes the call down, and acts unless it is refused.
    fn answer(
        &mut self,
        call: &'static str,
        detail: String,
        act: impl FnOnce(&mut World) -> Result<(), u32>,
    ) -> u32;
    /// Like [`HostCall::answer`], and hands bytes over in memory that the filter allocates.
    fn give(
        &mut self,
        call: &'static str,
        detail: String,
        places: (u32, u32),
        find: impl FnOnce(&mut World) -> Result<Vec<u8>, u32>,
    ) -> u32;
}

// === impl Host ===

impl HostCall for Host<'_> {
    fn memory(&mut self) -> Memory {
        self.get_export("memory").unwrap().into_memory().unwrap()
    }

    fn text(&mut self, at: u32, bytes: u32) -> String {
        let memory = self.memory();
        let text = &memory.data(&self)[at as usize..][..bytes as usize];
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn write_u32(&mut self, at: u32, value: u32) {
        self.memory().write(self, at as usize, &value.to_le_bytes()).unwrap();
    }

    fn metric_name(&self, id: u32) -> String {
        self.data()
            .metrics
            .get(id as usize)
            .map_or_else(|| format!("unknown {id}"), |metric| metric.name.clone())
    }

    fn place(&mut self, bytes: u32) -> u32 {
        let allocate = self.get_export("proxy_on_memory_allocate").unwrap().into_func().unwrap();
        let allocate = allocate.typed::<u32, u32>(&self).unwrap();
        let mut places = Vec::new();
        for _ in 0..=self.data().idle_places {
            let at = allocate.call(&mut *self, bytes).unwrap();
            places.push(at);
            // Whatever the proxy writes to one of them must not touch what is in another, nor what is the filter's.
            self.memory().write(&mut *self, at as usize, &vec![0xee; bytes as usize]).unwrap();
        }
        let is_apart = |[a, b]: [u32; 2]| a.abs_diff(b) >= bytes;
        assert!((1..places.len()).all(|at| (0..at).all(|before| is_apart([places[at], places[before]]))));
        places[places.len() - 1]
    }

    fn answer(
        &mut self,
        call: &'static str,
        detail: String,
        act: impl FnOnce(&mut World) -> Result<(), u32>,
    ) -> u32 {
        let world = self.data_mut();
        world.calls.push(format!("{call} {detail}"));
        match world.refused.get(call) {
            Some(status) => *status,
            None => act(world).err().unwrap_or(OK),
        }
    }

    fn give(
        &mut self,
        call: &'static str,
        detail: String,
        (data, size): (u32, u32),
        find: impl FnOnce(&mut World) -> Result<Vec<u8>, u32>,
    ) -> u32 {
        let mut bytes = Vec::new();
        let status = self.answer(call, detail, |world| find(world).map(|found| bytes = found));
        if status == OK {
            // As Envoy does: no bytes need no place.
            let at = if bytes.is_empty() { 0 } else { self.place(bytes.len() as u32) };
            if at == 0 && !bytes.is_empty() {
                return INVALID_MEMORY_ACCESS;
            }
            self.memory().write(&mut *self, at as usize, &bytes).unwrap();
            self.write_u32(data, at);
            self.write_u32(size, bytes.len() as u32);
        }
        status
    }
}
