// Runs one case: child.ts NAME
import { cases } from './cases';

const name = process.argv[2] ?? '';
const run = cases[name];
if (!run) throw new Error(`there is no case '${name}'`);
void Promise.resolve(run());
