// Writes a host as files, to try the command line:
//
//   npx tsx test/hosts/write.ts gpu-server /tmp/gpu-server && npx vfio-dmabuf topology --root /tmp/gpu-server
import { hostNames, writeNamed } from './hosts';

const [, , name = '', folder] = process.argv;
if (!hostNames.includes(name) || folder === undefined) {
  console.error(`usage: write.ts ${hostNames.join('|')} FOLDER`);
  process.exit(2);
}
console.log(writeNamed(folder, name));
