//! Bridges of this machine, through which containers reach it.
//!
//! The local AWS runs any code that it gets. So it must never listen on an address that another
//! machine can reach: neither an address of the network, nor that of a bridge with a network card
//! in it, which virtual machines use.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::getifaddrs;

/// The kernel's folder with a folder for each network interface.
const INTERFACES: &str = "/sys/class/net";

/// Reads the address of a bridge of this machine that only containers are on.
///
/// # Errors
///
/// The text is not an IPv4 address, or not the address of such a bridge.
pub(crate) fn address(text: &str) -> Result<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().context("this is not an IPv4 address")?;
    let interface = interface_of(address)?;
    let interface = interface.with_context(|| {
        format!(
            "no network interface of this machine has the address {address}: \
             `ip -4 address` lists all addresses"
        )
    })?;
    ensure_containers_alone(Path::new(INTERFACES), &interface)?;
    Ok(address)
}

/// The network interface with an address.
fn interface_of(address: Ipv4Addr) -> Result<Option<String>> {
    let interfaces = getifaddrs().context("cannot list the network interfaces of this machine")?;
    let mut names = interfaces.filter_map(|interface| {
        let own = interface.address?.as_sockaddr_in()?.ip();
        (own == address).then_some(interface.interface_name)
    });
    Ok(names.next())
}

/// Checks that an interface is a bridge, and that none of its ports leads out of this machine.
fn ensure_containers_alone(interfaces: &Path, name: &str) -> Result<()> {
    let bridge = interfaces.join(name);
    ensure!(
        bridge.join("bridge").is_dir(),
        "this is the address of {name}, which is not a bridge. Whoever reaches the local AWS can run \
         code with it, so only a bridge's address is allowed: usually 172.17.0.1, Docker's docker0"
    );
    let ports = fs::read_dir(bridge.join("brif"));
    let ports = ports.with_context(|| format!("cannot read the ports of the bridge {name}"))?;
    for port in ports {
        let port = port.with_context(|| format!("cannot read the ports of the bridge {name}"))?;
        let port = port.file_name();
        ensure!(
            !leads_out(&interfaces.join(&port))?,
            "the bridge {name} has {} in it, through which other machines could reach the local AWS",
            port.display()
        );
    }
    Ok(())
}

/// Whether an interface is hardware, or uses another interface as a VLAN does. A container's end is
/// neither.
fn leads_out(interface: &Path) -> Result<bool> {
    let entries = fs::read_dir(interface);
    let entries = entries.with_context(|| format!("cannot read {}", interface.display()))?;
    for entry in entries {
        let name = entry
            .with_context(|| format!("cannot read {}", interface.display()))?
            .file_name();
        let name = name.to_string_lossy();
        if name == "device" || name.starts_with("lower_") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of network interfaces, each with its entries.
    fn machine(interfaces: &[(&str, &[&str])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (interface, entries) in interfaces {
            for entry in *entries {
                fs::create_dir_all(folder.path().join(interface).join(entry)).unwrap();
            }
        }
        folder
    }

    fn judge(interfaces: &[(&str, &[&str])], name: &str) -> Result<()> {
        ensure_containers_alone(machine(interfaces).path(), name)
    }

    #[test]
    fn a_bridge_of_containers_is_accepted() {
        let veth: (&str, &[&str]) = ("veth1", &["statistics", "master"]);
        judge(&[("docker0", &["bridge", "brif"])], "docker0").unwrap();
        judge(&[("docker0", &["bridge", "brif/veth1"]), veth], "docker0").unwrap();
    }

    #[test]
    fn an_interface_that_leads_out_of_this_machine_is_refused() {
        judge(&[("eth0", &["device"])], "eth0").unwrap_err();
        judge(&[("wg0", &["statistics"])], "wg0").unwrap_err();
        for entry in ["device", "lower_eth0"] {
            let bridge: (&str, &[&str]) = ("br0", &["bridge", "brif/port"]);
            let error = judge(&[bridge, ("port", &[entry])], "br0").unwrap_err();
            assert!(error.to_string().contains("port in it"), "{error}");
        }
    }

    #[test]
    fn only_a_bridges_address_is_taken() {
        let refused = |text| format!("{:#}", address(text).unwrap_err());
        assert!(refused("docker0").contains("not an IPv4 address"));
        assert!(refused("127.0.0.1").contains("the address of lo, which is not a bridge"));
        assert!(refused("0.0.0.0").contains("no network interface"));
        assert!(refused("192.0.2.1").contains("no network interface"));
    }
}
