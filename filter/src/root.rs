//! The life of a configuration.

use crate::host::{self, Severity};
use crate::request::Request;
use crate::vm::{self, Serving};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::rc::Rc;

proxy_wasm::main! {{
    std::panic::set_hook(Box::new(|panic| host::log(Severity::Critical, &panic.to_string())));
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One configuration of the filter in one VM. It lives until its last request ended, so those keep their rules.
#[derive(Default)]
struct Root {
    serving: Option<Rc<Serving>>,
}

// === impl Root ===

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _vm_configuration_size: usize) -> bool {
        vm::announce();
        true
    }

    /// Never answers false: the proxy would refuse the listener's next update too, until better rules come. What is
    /// wrong with a configuration is told by metrics and one log line.
    fn on_configure(&mut self, plugin_configuration_size: usize) -> bool {
        self.serving = vm::configure(plugin_configuration_size);
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request { serving: self.serving.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
