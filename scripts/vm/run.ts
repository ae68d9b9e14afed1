// npm run vm -- COMMAND…: runs a command in the reference machine, on a real kernel. Exits with the command's status.
import { tmpdir } from 'node:os';
import { reference } from '../../lib/fake';
import { exitWith } from '../exit';
import { parseCommand } from './command';
import { runInVm } from './vm';

const { values, command } = parseCommand(process.argv.slice(2));

if (values.help === true || command.length === 0) {
  console.log(`Usage: npm run vm -- [options] [--] COMMAND [ARGUMENT…]

Runs COMMAND as root in a virtual machine, in this checkout, with the reference machine's devices bound to vfio-pci.
The host's files are there read-only; ${tmpdir()} is the guest's own.

  -k, --image FILE    the kernel to boot (default: $VFIO_DMABUF_BZIMAGE, or one that is built and cached)
  -s, --shared DIR    a folder of the host that the guest may write to
  -t, --timeout S     give up after so many seconds (default 600)

Example: npm run vm -- bash -c 'ls /dev/vfio/devices'`);
  process.exit(values.help === true ? 0 : 2);
}

exitWith(
  runInVm({
    machine: reference,
    command,
    timeout: Number(values.timeout),
    ...(values.image === undefined ? {} : { image: values.image }),
    ...(values.shared === undefined ? {} : { shared: values.shared }),
  }),
);
