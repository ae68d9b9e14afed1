// A process that inherits an iommufd as fd 3. It takes over the accounting of the pinned memory (changeProcess()), and
// then unmaps the memory in the IOAS with the given id. Prints as JSON how many KiB it had pinned.
import { Iommufd } from '../../lib';
import { pinned } from './pinned';

const before = pinned();
const iommufd = Iommufd.fromFd(3);
iommufd.changeProcess();
const taken = pinned();
const unmapped = Number(iommufd.adoptIoas(Number(process.argv[2])).unmap(0x10_0000n, 0x10000n));
console.log(JSON.stringify({ before, taken, unmapped, left: pinned() }));
