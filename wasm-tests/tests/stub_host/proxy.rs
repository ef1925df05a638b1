//! A proxy made of plain data: it runs the built filter, and writes down every host call.

use graylane_wasm_tests::places;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use wasmtime::{
    Caller, Engine, Instance, Linker, Memory, Module, Result, Store, TypedFunc, WasmParams, WasmResults,
};

/// Header names and values, in order.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// Statuses of the ABI.
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;

/// The module is compiled once for all tests: that takes longer than any of them.
static FILTER: LazyLock<(Engine, Module)> = LazyLock::new(|| {
    let path = match std::env::var_os("GRAYLANE_FILTER_WASM") {
        Some(path) => PathBuf::from(path),
        None => places::filter().unwrap(),
    };
    let engine = Engine::default();
    let module = Module::from_file(&engine, &path).unwrap();
    (engine, module)
});

/// One VM with the filter in it, and one plugin whose configuration changes.
pub struct Proxy {
    store: Store<World>,
    instance: Instance,
    memory: Memory,
    /// The root context of the newest configuration.
    root: u32,
    next_context: u32,
}

/// What the filter can see and touch.
#[derive(Default)]
pub struct World {
    /// The plugin whose configuration comes next.
    pub plugin_name: String,
    /// The host calls that are refused, each with its status, as a proxy with fewer capabilities does.
    pub refused: BTreeMap<&'static str, u32>,
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
        let mut proxy = Self { store, instance, memory, root: 0, next_context: 1 };
        proxy.call::<_, ()>("_initialize", ());
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

    /// Configures as Envoy does: a new root context, and the old one goes when the new one serves.
    pub fn configure(&mut self, configuration: &[u8]) -> bool {
        let old = self.root;
        let answer = self.configure_beside(configuration);
        if old != 0 {
            self.end(old);
        }
        answer
    }

    /// Configures, and leaves the old root context to its last requests.
    pub fn configure_beside(&mut self, configuration: &[u8]) -> bool {
        self.root = self.context(0);
        self.world().configuration = configuration.to_vec();
        assert_eq!(self.call::<_, u32>("proxy_on_vm_start", (self.root, 0_u32)), 1);
        self.call::<_, u32>("proxy_on_configure", (self.root, configuration.len() as u32)) == 1
    }

    /// One request, from its first callback to its last.
    pub fn request(&mut self, headers: Headers) -> Outcome {
        let context = self.open();
        let outcome = self.send(context, headers);
        for callback in ["proxy_on_response_headers", "proxy_on_response_body"] {
            assert_eq!(self.call::<_, u32>(callback, (context, 1_u32, 0_u32)), 0);
        }
        self.end(context);
        assert_eq!(self.calls(), [""; 0], "a response costs no host call");
        outcome
    }

    /// The root context of the newest configuration.
    pub fn root(&self) -> u32 {
        self.root
    }

    /// Opens a request of which nothing was read yet.
    pub fn open(&mut self) -> u32 {
        self.context(self.root)
    }

    /// Hands the headers of an open request over.
    pub fn send(&mut self, context: u32, headers: Headers) -> Outcome {
        self.calls();
        let count = headers.len() as u32;
        self.world().headers = headers;
        let action = self.call::<_, u32>("proxy_on_request_headers", (context, count, 1_u32));
        assert_eq!(action, 0, "a request is never held up");
        Outcome { calls: self.calls(), headers: std::mem::take(&mut self.world().headers) }
    }

    /// Ends a context, a request's or a root's.
    pub fn end(&mut self, context: u32) {
        assert_eq!(self.call::<_, u32>("proxy_on_done", context), 1);
        self.call::<_, ()>("proxy_on_log", context);
        self.call::<_, ()>("proxy_on_delete", context);
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

    /// A new context: a root's when `parent` is 0.
    fn context(&mut self, parent: u32) -> u32 {
        let context = self.next_context;
        self.next_context += 1;
        self.call::<_, ()>("proxy_on_context_create", (context, parent));
        context
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
            let malloc = self.get_export("malloc").unwrap().into_func().unwrap();
            let malloc = malloc.typed::<u32, u32>(&self).unwrap();
            let at = malloc.call(&mut *self, bytes.len() as u32).unwrap();
            self.memory().write(&mut *self, at as usize, &bytes).unwrap();
            self.write_u32(data, at);
            self.write_u32(size, bytes.len() as u32);
        }
        status
    }
}
