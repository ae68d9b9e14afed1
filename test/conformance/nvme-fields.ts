// The fields of NVMe's data structures, by offset and size (NVM Express base specification 1.4).

/** A field: its name, its offset, and its size in bytes. A text is shown as such. */
export type Field = readonly [name: string, offset: number, size: number, kind?: 'text'];

export const identifyController: readonly Field[] = [
  ...([
    ['VID', 0, 2],
    ['SSVID', 2, 2],
    ['SN', 4, 20, 'text'],
    ['MN', 24, 40, 'text'],
    ['FR', 64, 8, 'text'],
  ] as const),
  ...([
    ['RAB', 72, 1],
    ['IEEE', 73, 3],
    ['CMIC', 76, 1],
    ['MDTS', 77, 1],
    ['CNTLID', 78, 2],
    ['VER', 80, 4],
  ] as const),
  ...([
    ['RTD3R', 84, 4],
    ['RTD3E', 88, 4],
    ['OAES', 92, 4],
    ['CTRATT', 96, 4],
    ['RRLS', 100, 2],
  ] as const),
  ...([
    ['CNTRLTYPE', 111, 1],
    ['FGUID', 112, 16],
    ['CRDT1', 128, 2],
    ['CRDT2', 130, 2],
    ['CRDT3', 132, 2],
  ] as const),
  ...([
    ['OACS', 256, 2],
    ['ACL', 258, 1],
    ['AERL', 259, 1],
    ['FRMW', 260, 1],
    ['LPA', 261, 1],
  ] as const),
  ...([
    ['ELPE', 262, 1],
    ['NPSS', 263, 1],
    ['AVSCC', 264, 1],
    ['APSTA', 265, 1],
    ['WCTEMP', 266, 2],
  ] as const),
  ...([
    ['CCTEMP', 268, 2],
    ['MTFA', 270, 2],
    ['HMPRE', 272, 4],
    ['HMMIN', 276, 4],
    ['TNVMCAP', 280, 16],
  ] as const),
  ...([
    ['UNVMCAP', 296, 16],
    ['RPMBS', 312, 4],
    ['EDSTT', 316, 2],
    ['DSTO', 318, 1],
    ['FWUG', 319, 1],
  ] as const),
  ...([
    ['KAS', 320, 2],
    ['HCTMA', 322, 2],
    ['MNTMT', 324, 2],
    ['MXTMT', 326, 2],
    ['SANICAP', 328, 4],
  ] as const),
  ...([
    ['HMMINDS', 332, 4],
    ['HMMAXD', 336, 2],
    ['NSETIDMAX', 338, 2],
    ['ENDGIDMAX', 340, 2],
  ] as const),
  ...([
    ['ANATT', 342, 1],
    ['ANACAP', 343, 1],
    ['ANAGRPMAX', 344, 4],
    ['NANAGRPID', 348, 4],
    ['PELS', 352, 4],
  ] as const),
  ...([
    ['SQES', 512, 1],
    ['CQES', 513, 1],
    ['MAXCMD', 514, 2],
    ['NN', 516, 4],
    ['ONCS', 520, 2],
  ] as const),
  ...([
    ['FUSES', 522, 2],
    ['FNA', 524, 1],
    ['VWC', 525, 1],
    ['AWUN', 526, 2],
    ['AWUPF', 528, 2],
  ] as const),
  ...([
    ['ICSVSCC', 530, 1],
    ['NWPC', 531, 1],
    ['ACWU', 532, 2],
    ['OCFS', 534, 2],
    ['SGLS', 536, 4],
  ] as const),
  ...([
    ['MNAN', 540, 4],
    ['SUBNQN', 768, 256, 'text'],
    ['PSD0', 2048, 32],
  ] as const),
];

export const identifyNamespace: readonly Field[] = [
  ...([
    ['NSZE', 0, 8],
    ['NCAP', 8, 8],
    ['NUSE', 16, 8],
    ['NSFEAT', 24, 1],
    ['NLBAF', 25, 1],
    ['FLBAS', 26, 1],
  ] as const),
  ...([
    ['MC', 27, 1],
    ['DPC', 28, 1],
    ['DPS', 29, 1],
    ['NMIC', 30, 1],
    ['RESCAP', 31, 1],
    ['FPI', 32, 1],
  ] as const),
  ...([
    ['DLFEAT', 33, 1],
    ['NAWUN', 34, 2],
    ['NAWUPF', 36, 2],
    ['NACWU', 38, 2],
    ['NABSN', 40, 2],
  ] as const),
  ...([
    ['NABO', 42, 2],
    ['NABSPF', 44, 2],
    ['NOIOB', 46, 2],
    ['NVMCAP', 48, 16],
    ['NPWG', 64, 2],
  ] as const),
  ...([
    ['NPWA', 66, 2],
    ['NPDG', 68, 2],
    ['NPDA', 70, 2],
    ['NOWS', 72, 2],
    ['MSSRL', 74, 2],
    ['MCL', 76, 4],
  ] as const),
  ...([
    ['MSRC', 80, 1],
    ['ANAGRPID', 92, 4],
    ['NSATTR', 99, 1],
    ['NVMSETID', 100, 2],
    ['ENDGID', 102, 2],
  ] as const),
  ...([
    ['NGUID', 104, 16],
    ['EUI64', 120, 8],
  ] as const),
  ...Array.from({ length: 16 }, (_, i) => [`LBAF${String(i)}`, 128 + 4 * i, 4] as const),
];

export const healthLog: readonly Field[] = [
  ...([
    ['critical warning', 0, 1],
    ['composite temperature', 1, 2],
    ['available spare', 3, 1],
  ] as const),
  ...([
    ['spare threshold', 4, 1],
    ['percentage used', 5, 1],
    ['data units read', 32, 16],
  ] as const),
  ...([
    ['data units written', 48, 16],
    ['host reads', 64, 16],
    ['host writes', 80, 16],
    ['busy time', 96, 16],
  ] as const),
  ...([
    ['power cycles', 112, 16],
    ['power-on hours', 128, 16],
    ['unsafe shutdowns', 144, 16],
  ] as const),
  ...([
    ['media errors', 160, 16],
    ['error log entries', 176, 16],
    ['warning time', 192, 4],
  ] as const),
  ...([['critical time', 196, 4]] as const),
];

const number = (bytes: Buffer) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);

/** The fields of a structure by name. The bytes that belong to none are in `other`, by offset, unless they are 0. */
export function fieldsOf(bytes: Buffer, fields: readonly Field[]): Record<string, unknown> {
  const rest = Buffer.from(bytes);
  const values: Record<string, unknown> = {};
  for (const [name, offset, size, kind] of fields) {
    const part = bytes.subarray(offset, offset + size);
    values[name] = kind === 'text' ? part.toString('latin1').replace(/[ \0]+$/, '') : `0x${number(part).toString(16)}`;
    rest.fill(0, offset, offset + size);
  }
  return { ...values, other: nonZero(rest) };
}

/** The bytes that are not 0, by offset. */
export function nonZero(bytes: Buffer): Record<string, number> {
  return Object.fromEntries(
    [...bytes.entries()].filter(([, byte]) => byte !== 0).map(([at, byte]) => [String(at), byte]),
  );
}
