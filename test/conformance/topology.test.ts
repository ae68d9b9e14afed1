// The PCI topology that the library reads from the machine's sysfs, and its P2PDMA verdicts.
import assert from 'node:assert/strict';
import { defaultKernel, PciTopology, type PciFunction } from '../../lib';
import { conforms, observe } from './record';
import { addresses, useRig } from './rig';

const roles = ['ssd', 'display', 'engine', 'ports', 'physical', 'twin0', 'twin1'] as const;

describe('the PCI topology', () => {
  const rig = useRig('ssd', 'display');
  const read = () => PciTopology.read({ sysfs: defaultKernel().sysfs });
  const known = (found: PciFunction) => {
    const { address, vendor, device, classCode, driver, link, port, acs, sriov, physicalFunction, bars } = found;
    const memory = bars.map(({ index, kind, size, prefetchable, wide }) => ({ index, kind, size, prefetchable, wide }));
    return {
      ...{ address, vendor, device, classCode, driver, link, port, sriov, physicalFunction, memory },
      acs: acs.state === 'present' ? acs.redirects : acs.state,
    };
  };

  conforms('has the devices, the root ports above them, and the host bridge', () => {
    const { functions, hostBridges } = read();
    // Without the virtual functions: QEMU's lose their config space when other cases reset the physical function.
    for (const role of roles) {
      const found = functions.get(addresses[role]);
      assert(found?.parent);
      observe([known(found), known({ ...found.parent, bars: [] })]);
      assert.equal(found.parent.port, 'root-port');
    }
    const [host] = hostBridges.get('pci0000:00') ?? [];
    assert(host);
    observe(known(host));
  });

  conforms('has the CPU', () => {
    observe(read().cpu);
  });

  conforms('says of every pair what the kernel’s drivers would', () => {
    const topology = read();
    for (const from of roles) {
      for (const to of roles) {
        const path = topology.p2pPath(addresses[from], addresses[to]);
        const { verdict, distance, redirects, hops, bandwidth } = path;
        observe([
          verdict,
          distance,
          redirects.map(({ address }) => address),
          hops.map(({ address }) => address),
          bandwidth,
        ]);
        if (from !== to) assert.equal(verdict, 'unsupported');
      }
    }
  });

  conforms('says whether devices can share an IOAS, and where', async () => {
    const topology = read();
    const { possible, objections, windows } = topology.sharedIoas([addresses.ssd, addresses.display]);
    observe([possible, objections.map(({ device, text }) => [device.address, text]), windows]);
    assert.equal(possible, true);
    for (const role of ['ssd', 'display'] as const) await rig.device(role).attach(rig.ioas);
    observe(rig.ioas.iovaRanges());
  });
});
