//! A daemon whose disk is full.

use crate::daemon::{Answer, Daemon};
use crate::ledger::Ledger;
use crate::proxy;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A small disk of its own, which goes away with it.
struct SmallDisk {
    dir: tempfile::TempDir,
}

/// Bytes of the disk.
const DISK: &str = "size=1m";

/// The most lists that are uploaded to fill the disk, of `LIST` ids each.
const MAX_LISTS: usize = 400;
const LIST: usize = 2_000;

// === impl SmallDisk ===

impl SmallDisk {
    /// None, told on standard error, where nothing may be mounted.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(DISK).unwrap();
        match mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self { dir }),
            Err(error) => {
                eprintln!("SKIPPED: a disk of 1 MB cannot be mounted here ({error}); run this as root");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills what is left of the disk with a file of somebody else's.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("of-somebody-else");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

fn plan(name: &str) -> String {
    format!(
        "apiVersion: graylane.dev/v1alpha1\nkind: ReleasePlan\nmetadata: {{ name: {name}, tenant: retail }}\nspec:\n  owner: o\n  \
         services: [{{ name: {name}, hosts: [{name}.retail], stable: v1, gray: v2 }}]\n  stages: \
         [{{ name: a, scope: {{ include: {{ teller: [T1] }} }} }}, {{ name: b, scope: {{ all: true }} }}]\n"
    )
}

/// Uploads lists until one is refused, and gives that answer.
fn upload_until_refused(daemon: &Daemon, from: usize) -> Answer {
    for list in from..from + MAX_LISTS {
        let ids: String = (0..LIST).map(|id| format!("T{list}{id}\n")).collect();
        let path = format!("/api/v1/tenants/retail/lists/list-{list}");
        let answer = daemon.request("PUT", &path, &[("Content-Type", "text/csv")], ids.as_bytes());
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("the disk never was full");
}

fn is_refused(answer: &Answer) {
    assert_eq!((answer.status, &answer.json["title"]), (507, &"store full".into()), "{}", answer.json);
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(
        detail.contains("is full: the store needs") && detail.contains("free some and repeat"),
        "{detail}"
    );
}

fn published_by(daemon: &Daemon) -> u64 {
    daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json["revision"].as_u64().unwrap()
}

/// F02.
#[test]
fn a_full_disk_refuses_writes_and_nothing_else_and_rollbacks_go_through() {
    let Some(disk) = SmallDisk::new() else { return };
    let data = disk.path().join("data");
    let daemon = Daemon::start(&data);
    let orders = ["one", "two", "three"];
    for (at, name) in orders.iter().enumerate() {
        daemon.json(&["plan", "apply", "-f", "-"], &plan(name));
        assert_eq!(daemon.json(&["order", "start", name], "")["id"], at as u64 + 1);
    }
    let published = published_by(&daemon);
    is_refused(&upload_until_refused(&daemon, 0));
    let others = disk.fill();

    // Small ones, too, are refused or fit; reads and proxies go on.
    let refused = upload_until_refused(&daemon, MAX_LISTS);
    is_refused(&refused);
    let orders_now = daemon.json(&["order", "list"], "");
    assert_eq!(orders_now.as_array().unwrap().len(), 3);
    assert_eq!(published_by(&daemon), published);
    let explain = ["explain", "--host", "one.retail", "--teller", "T1"];
    assert_eq!(daemon.json(&explain, "")["version"], "v2");

    // The way back is open, and reaches the proxies.
    let roll_back = |daemon: &Daemon, id: &str| {
        daemon.json(&["order", "rollback", id, "--reason", &format!("the disk is full, {id}")], "");
        daemon.wait_for(id, "RolledBack");
    };
    roll_back(&daemon, "1");
    roll_back(&daemon, "2");
    assert_eq!(published_by(&daemon), published + 2);
    assert_eq!(daemon.json(&explain, "")["version"], serde_json::Value::Null);

    // A daemon that is killed here starts again, on a disk that is still full, and what came free is not used up.
    daemon.kill();
    let daemon = Daemon::start(&data);
    is_refused(&upload_until_refused(&daemon, 2 * MAX_LISTS));
    roll_back(&daemon, "3");
    // Only now, as a proxy that goes away is waited for.
    assert_eq!(proxy::revision(&daemon.xds, "retail"), published + 3);

    // With room it takes everything again, without another start.
    fs::remove_file(others).unwrap();
    for list in daemon.json(&["list", "list"], "").as_array().unwrap() {
        daemon.json(&["list", "delete", list["name"].as_str().unwrap()], "");
    }
    daemon.json(&["plan", "apply", "-f", "-"], &plan("four"));
    daemon.json(&["order", "start", "four"], "");
    Ledger::default().read_on(&daemon);
}
