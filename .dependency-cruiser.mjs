// The floors of lib/, from the ground up. A folder imports from itself and from the floors below it, never from its own
// floor's other folders or from above; types count. `npm run check:floors` holds that, and that there is no circle.
const floors = [
  ['addon'],
  ['errors'],
  ['kernel'],
  ['lifetime', 'fake'],
  ['events'],
  ['pci', 'dmabuf'],
  ['iommufd'],
  ['vfio'],
  ['nvme', 'ipc', 'peer-space', 'hints'],
  ['host'],
  ['entry'],
  ['cli'],
];
/** The fake is beside the rest: nothing but the entry points imports it. */
const beside = ['fake'];
/** They import from any floor, and no floor imports them. */
const entries = '^lib/(index|fake/index)[.]ts$';

const rules = floors.flatMap((floor, i) => {
  const below = floors
    .slice(0, i)
    .flat()
    .filter((folder) => !beside.includes(folder) || floor.includes('entry') || floor.includes('cli'));
  return floor.map((folder) => ({
    name: `floor of ${folder}`,
    comment: `lib/${folder} may import from: ${[...below, folder].join(', ')}`,
    severity: 'error',
    from: { path: `^lib/${folder}/`, pathNot: entries },
    to: { path: '^lib/', pathNot: `^lib/(${[...below, folder].join('|')})/` },
  }));
});

export default {
  forbidden: [
    ...rules,
    { name: 'no circle', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'entry points are imported by nothing',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: entries },
    },
    {
      name: 'every folder has a floor',
      severity: 'error',
      from: { path: '^lib/', pathNot: [`^lib/(${floors.flat().join('|')})/`, entries] },
      to: {},
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
