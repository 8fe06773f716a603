//! The metrics that Prometheus' own clients report of a process, read from the system at each scrape.

use std::{fs, io};

use rustix::process::{Resource, getrlimit};
use tokio::task::spawn_blocking;

/// What the system says of this process; `None` for what it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// In bytes.
    pub(super) resident_memory: Option<u64>,
    /// How many files are open.
    pub(super) open_files: Option<u64>,
    /// How many files may be open.
    pub(super) most_open_files: Option<u64>,
}

impl Process {
    /// Reads them on a blocking thread, as each open file, of which there may be ten thousand, is a directory entry to
    /// read.
    pub(super) async fn look() -> Self {
        spawn_blocking(Self::read).await.unwrap_or_default()
    }

    fn read() -> Self {
        Self {
            resident_memory: fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_memory(&status)),
            open_files: open_files().ok(),
            most_open_files: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The resident memory in the text of `/proc/self/status`, in bytes.
fn resident_memory(status: &str) -> Option<u64> {
    let told = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = told.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_files() -> io::Result<u64> {
    let entries = fs::read_dir("/proc/self/fd")?.count();
    // One of them is the directory being read.
    Ok(u64::try_from(entries).unwrap_or(u64::MAX).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_nothing_is_made_of_what_is_not_there() {
        for (status, bytes) in [
            ("Name:\tqcc-gateway\nVmHWM:\t   99999 kB\nVmRSS:\t   12345 kB\nRssAnon:\t    1 kB\n", Some(12_641_280)),
            ("VmRSS:\t0 kB\n", Some(0)),
            ("VmRSS:\t12345\n", None),
            ("VmRSS:\tmany kB\n", None),
            ("VmRSS:\t18446744073709551615 kB\n", None),
            ("Name:\tVmRSS: 1 kB\n", None),
            ("", None),
        ] {
            assert_eq!(resident_memory(status), bytes, "{status:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[actix_web::test]
    async fn a_process_is_seen_as_it_is() {
        const MORE: usize = 200;
        let held: Vec<_> = (0..MORE).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let seen = Process::look().await;
        assert!(seen.resident_memory.unwrap() > 1 << 20, "{seen:?}");
        let open = seen.open_files.unwrap();
        assert!(open > held.len() as u64 && open <= seen.most_open_files.unwrap(), "{seen:?}");
    }
}
