;; The floor: it makes the host calls that Graylane makes for an outcome, and decides nothing. Which outcome, the first byte
;; of its configuration says:
;;
;;   g  gray        all headers, one header set, one counter incremented
;;   s  stable      all headers, one counter incremented
;;   n  no-headers  all headers, one counter incremented
;;   h  no-rules    all headers
;;
;; When Graylane's calls change, change the function of the outcome below.
(module
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))

  (memory (export "memory") 4)

  ;; 0: where a call puts an address, 4: where it puts a size, 8: the counter's id.
  (data (i32.const 16) "x-gray-version")
  (data (i32.const 32) "v2")
  (data (i32.const 48) "floor_requests")

  ;; Memory for what the host returns: from 1024 on, anew for each request.
  (global $next (mut i32) (i32.const 1024))
  (global $outcome (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $bytes i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $bytes)))
    (local.get $start))

  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))

  (func (export "proxy_on_configure") (param $context i32) (param $bytes i32) (result i32)
    (global.set $next (i32.const 1024))
    ;; 7: the plugin's configuration.
    (drop (call $get_buffer (i32.const 7) (i32.const 0) (local.get $bytes) (i32.const 0) (i32.const 4)))
    (global.set $outcome (i32.load8_u (i32.load (i32.const 0))))
    ;; 0: a counter.
    (drop (call $define (i32.const 0) (i32.const 48) (i32.const 14) (i32.const 8)))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $next (i32.const 1024))
    (if (i32.eq (global.get $outcome) (i32.const 0x67)) (then (call $gray)))
    (if (i32.eq (global.get $outcome) (i32.const 0x73)) (then (call $stable)))
    (if (i32.eq (global.get $outcome) (i32.const 0x6e)) (then (call $no_headers)))
    (if (i32.eq (global.get $outcome) (i32.const 0x68)) (then (call $no_rules)))
    (i32.const 0))

  (func $gray
    (call $all_headers)
    (drop (call $replace (i32.const 0) (i32.const 16) (i32.const 14) (i32.const 32) (i32.const 2)))
    (call $count))

  (func $stable
    (call $all_headers)
    (call $count))

  (func $no_headers
    (call $all_headers)
    (call $count))

  (func $no_rules
    (call $all_headers))

  ;; 0: the headers of the request.
  (func $all_headers
    (drop (call $get_pairs (i32.const 0) (i32.const 0) (i32.const 4))))

  (func $count
    (drop (call $increment (i32.load (i32.const 8)) (i64.const 1)))))
