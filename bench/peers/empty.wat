;; A filter that does nothing: what wasm itself costs. It exports no more than Envoy needs to call it for each request, so
;; neither the creation nor the end of a request's context reaches it.
(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 1024))

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $bytes i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $bytes)))
    (local.get $start))

  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))

  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))

  ;; Continue.
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))
