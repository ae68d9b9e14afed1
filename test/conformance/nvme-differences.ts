// Where the fake's NVMe drive differs from QEMU's. Everything else that the suite asks is compared.

export interface Difference {
  structure: string;
  /** The field, or the command. */
  field: string;
  reason: string;
}

/** The name under which statuses of commands are listed. */
export const statuses = 'Status of a command';

export const differences: readonly Difference[] = [
  ...[
    { field: 'SN', reason: "QEMU's is an option of its command line; the fake's is the PCI address, which is unique" },
    { field: 'MN', reason: 'the fake does not claim to be QEMU' },
    { field: 'FR', reason: "QEMU's is its own version" },
    { field: 'SUBNQN', reason: "it contains the serial number, after the implementation's own prefix" },
  ].map((each) => ({ structure: 'Identify Controller', ...each })),
  ...[
    { field: 'data units read', reason: "Linux's own driver has read from QEMU's drive before" },
    { field: 'data units written', reason: 'it counts what was written since the machine started' },
    { field: 'host reads', reason: "Linux's own driver has read from QEMU's drive before; the increments are equal" },
    { field: 'host writes', reason: 'it counts what was written since the machine started; the increments are equal' },
  ].map((each) => ({ structure: 'SMART / Health Information', ...each })),
  ...[
    {
      field: 'Identify to an address that is not mapped',
      reason: 'QEMU reports success for data that the IOMMU stopped; the specification has Data Transfer Error',
    },
    {
      field: 'Format with protection information',
      reason: 'the fake does not check protection information, so it offers none',
    },
    {
      field: 'Virtualization Management: primary controller, resources of queues',
      reason: "resources of the fake's virtual functions are fixed, and those functions stay offline",
    },
  ].map((each) => ({ structure: statuses, ...each })),
];
