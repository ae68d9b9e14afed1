// Self-tests of the kernel that the fake fails, with the reasons.
export const known: readonly { tests: RegExp; reason: string }[] = [
  { tests: /^change_process\./, reason: 'the fake does not account pinned memory: VmPin in /proc/PID/status' },
  { tests: /\.fork_(?:gone|present)$/, reason: 'after fork(2), each process has a machine of its own' },
  { tests: /\.viommu_alloc_with_data$/, reason: 'the fake has no mmap() of a virtual IOMMU' },
  {
    tests: /\.pasid_attach$/,
    reason: "the mock IOMMU of the fake does not refuse PASID 1024, which the kernel's does for this test",
  },
];
