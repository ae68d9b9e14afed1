// Suites that make raw calls (raw.ts). A prebuilt addon has none.
import { native } from '../lib/addon/native';

export const describeRaw = native.rawCall ? describe : describe.skip;
