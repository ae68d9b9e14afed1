// npm run test:node [-- LINE...]: runs the suite on the newest Node of each release line (default: 20, 22, 24 and 26),
// with the addon as it is built: one build must work with all of them. The Node programs come from the npm registry,
// and are kept in the user's cache.
import { existsSync } from 'node:fs';
import path from 'node:path';

import { root } from './cmake';
import { exitWith } from './exit';
import { fetchNode, findVersion } from './node-versions';
import { runSuite } from './suite';

const supported = ['20', '22', '24', '26'];

async function main(lines: readonly string[]): Promise<number> {
  if (!existsSync(path.join(root, 'build/Release/vfio_dmabuf.node'))) {
    throw new Error('test:node: the addon is not built: npm run rebuild');
  }
  const summary: string[] = [];
  let failed = false;
  for (const line of lines) {
    const version = findVersion(line);
    const { ok, passed } = await runSuite({ folder: root, bin: fetchNode(version) });
    failed ||= !ok;
    summary.push(`Node ${version}: ${passed} passing${ok ? '' : ', FAILED'}`);
  }
  console.log(summary.join('\n'));
  return failed ? 1 : 0;
}

const chosen = process.argv.slice(2);
exitWith(main(chosen.length > 0 ? chosen : supported));
