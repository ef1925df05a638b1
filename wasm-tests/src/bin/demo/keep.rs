//! `--keep`: everything goes on running, with an order under way, for people to look at and to try.

use std::env;

use anyhow::Result;
use graylane_wasm_tests::{LOAN_HOST, Testbed, places};

use crate::command::{self, PLAN};
use crate::interrupt::Interrupt;
use crate::print::Printer;

/// Starts another order, says where to look, and waits for Ctrl-C.
pub(crate) fn until_interrupted(testbed: &Testbed, printer: &Printer, interrupt: &Interrupt) -> Result<()> {
    printer.heading("Another order, for you to go on with");
    let run = |arguments: &str| command::run(&testbed.daemon, printer, arguments);
    let order = command::order_id(&run(&format!("order start {PLAN} --wait"))?)?;
    run(&format!("order advance {order} --wait"))?;
    command::applied(&testbed.daemon, order, testbed.envoys.len())?;
    printer.line(&format!(
        "Order {order} is at stage 2 of 4, pilot-branch: B012 is on v2, the others are on v1."
    ));
    where_to_look(testbed, printer);
    what_to_try(testbed, printer, order)?;
    printer.heading("Everything runs until Ctrl-C");
    interrupt.wait();
    Ok(())
}

fn where_to_look(testbed: &Testbed, printer: &Printer) {
    printer.heading("Where to look");
    let daemon = &testbed.daemon;
    printer.line(&format!(
        "the daemon's API   http://{}/api/v1/orders  (described in /api/v1/openapi.json)",
        daemon.http()
    ));
    printer.line(&format!("its xDS port       {}", daemon.xds()));
    for (index, envoy) in testbed.envoys.iter().enumerate() {
        printer.line(&format!(
            "proxy-{index}            http://{}, admin http://{}",
            envoy.listener(),
            envoy.admin()
        ));
    }
    printer.line(&format!("logs and data      {}", daemon.folder().display()));
}

fn what_to_try(testbed: &Testbed, printer: &Printer, order: u64) -> Result<()> {
    printer.heading("What to try");
    let Some(envoy) = testbed.envoys.first() else { return Ok(()) };
    for (headers, meaning) in [
        ("-H 'x-teller: T0000017'", "a pilot teller: v2"),
        ("-H 'x-teller: T0000012' -H 'x-branch: B012'", "another teller of the pilot branch: v2"),
        ("-H 'x-teller: T0000099' -H 'x-branch: B012'", "the excluded one: v1"),
        ("-H 'x-gray-version: v2'", "one who claims v2 itself: v1"),
    ] {
        printer.line(meaning);
        printer.command(&format!("curl -s -H 'host: {LOAN_HOST}' {headers} http://{}/", envoy.listener()));
    }
    let program = places::daemon()?;
    let here = env::current_dir()?;
    let program = program.strip_prefix(&here).unwrap_or(&program);
    let graylane = format!("{} --server http://{}", program.display(), testbed.daemon.http());
    printer.line("the same by command line: what holds, why, and how it goes on");
    for arguments in [
        format!("order get {order}"),
        "proxies".to_owned(),
        format!("explain --host {LOAN_HOST} --teller T0000012 --branch B012"),
        format!("order advance {order} --wait"),
        format!("order rollback {order} --service ledger --wait"),
    ] {
        printer.command(&format!("{graylane} {arguments}"));
    }
    Ok(())
}
