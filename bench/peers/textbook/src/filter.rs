//! Rules, the life of a configuration, and that of a request.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default, Deserialize)]
struct Rules {
    services_by_host: HashMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    gray: String,
    teller: HashSet<String>,
    branch: HashSet<String>,
    region: HashSet<String>,
}

#[derive(Default)]
struct Root {
    rules: Rc<Rules>,
}

struct Filter {
    rules: Rc<Rules>,
}

// === impl Root ===

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        match serde_json::from_slice(&configuration) {
            Ok(rules) => {
                self.rules = Rc::new(rules);
                true
            }
            // An empty configuration is none.
            Err(_) => configuration.is_empty(),
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter { rules: Rc::clone(&self.rules) }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

// === impl Filter ===

impl Filter {
    fn is_gray(&self, service: &Service) -> bool {
        let is_in = |header: &str, ids: &HashSet<String>| {
            self.get_http_request_header(header).is_some_and(|value| ids.contains(&value))
        };
        is_in("x-teller", &service.teller)
            || is_in("x-branch", &service.branch)
            || is_in("x-region", &service.region)
    }
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let host = self.get_http_request_header(":authority").unwrap_or_default();
        if let Some(service) = self.rules.services_by_host.get(&host)
            && self.is_gray(service)
        {
            self.set_http_request_header("x-gray-version", Some(&service.gray));
        }
        Action::Continue
    }
}
