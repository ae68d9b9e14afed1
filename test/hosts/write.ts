// Writes a host as files, to try the command line on:
//
//   npx tsx test/hosts/write.ts gpu-server /tmp/gpu-server && npx vfio-dmabuf topology --root /tmp/gpu-server
import { writeHost } from './host';
import { hosts } from './hosts';

const [, , name = '', folder] = process.argv;
const host = hosts[name];
if (!host || folder === undefined) {
  console.error(`usage: write.ts ${Object.keys(hosts).join('|')} FOLDER`);
  process.exit(2);
}
console.log(writeHost(folder, host));
