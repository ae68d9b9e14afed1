#!/usr/bin/env bash
# Builds the Linux kernel that the tests' virtual machine boots, and prints the image's path as the last line of
# stdout; everything else goes to stderr.
#
#   build-kernel.sh [--source TREE | --package NAME] [--check]
#
#   --source TREE    build this unpacked kernel source tree (it is not written to)
#   --package NAME   build Debian's source package NAME, such as linux-source-6.19
#   --check          build nothing: exit 0 (and print the path) if the image is already there, 1 if not
#
# With neither, the newest linux-source-X.Y package (6.19 or later) is downloaded through apt, without root. What is
# already in ${XDG_CACHE_HOME:-~/.cache}/vfio-dmabuf is used as it is, without asking apt again: an image belongs to
# a source version and to the contents of kernel.config, and an unpacked package serves any kernel.config. Delete a
# file or folder there to have it made anew. An interrupted build is resumed by the next run.
set -euo pipefail
unset MAKEFLAGS MAKELEVEL KBUILD_OUTPUT
oldest=6.19 # the first release in which VFIO exports a BAR as a dma-buf
vital='VFIO_PCI IOMMUFD VFIO_DEVICE_CDEV INTEL_IOMMU PCI_P2PDMA DMA_SHARED_BUFFER UDMABUF NET_9P_VIRTIO 9P_FS'
options=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/kernel.config
hash=$(sha256sum <"$options" | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vfio-dmabuf
log=$cache/build.log tmp=$cache/tmp source='' package='' check='' tree='' image='' job=''

say() { printf 'build-kernel: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
failed() { say "$1; the end of the log:"; tail -n 30 "$log" >&2; die "the whole log: $log"; }

# run LABEL COMMAND...: the command at the lowest priority, its output in the log, signs of life on stderr.
run() {
  local label=$1 start=$SECONDS due=30 status=0 took files line
  printf '\n== %s: %s\n' "$label" "${*:2}" >>"$log"
  nice -n 19 "${@:2}" >>"$log" 2>&1 </dev/null &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.5
    took=$((SECONDS - start))
    [[ -t 2 || $took -ge $due ]] || continue
    due=$((took + 30)) files=$(grep -cE '^  (CC|AS) ' "$log" || true)
    printf -v line '%s: %d:%02d, %d files compiled' "$label" $((took / 60)) $((took % 60)) "$files"
    if [[ -t 2 ]]; then printf '\r\033[K%s' "${line%, 0 *}" >&2; else say "${line%, 0 *}"; fi
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  wait "$job" || status=$?
  job='' && return "$status"
}
must() { run "$@" || failed "$1 failed"; }

# Reads package names, or paths that hold one, and prints the latest that will do.
newest() {
  local line name least
  while read -r line; do
    name=${line##*/} name=${name#bzImage-} name=${name%%_*}
    least=$(printf '%s\n' "${name##*-}" $oldest | sort -V | head -n 1)
    if [[ $name == "${package:-$name}" && ($least == "$oldest" || -n $package) ]]; then printf '%s\n' "$line"; fi
  done | sort -V | tail -n 1
}
known_to_apt() { apt-cache search --names-only '^linux-source-[0-9.]+$' | cut -d ' ' -f 1 | newest; }

# Sets $image; succeeds if it is there. An image of a git tree with uncommitted changes never counts as up to date.
find_image() {
  local version
  if [[ -n $source ]]; then
    version=$(make -s --no-print-directory -C "$source" kernelversion) || die "$source is not a kernel source tree"
    [[ ! -e $source/.git ]] || version+=-$(GIT_OPTIONAL_LOCKS=0 git -C "$source" describe --always --dirty)
    image=$cache/bzImage-tree_$version-$hash
  else
    image=$(compgen -G "$cache/bzImage-linux-source-*_*-$hash" | newest) || true
  fi
  [[ -s $image && $image != *-dirty-* ]]
}

# From here on apt works in $tmp/apt and knows one suite: apt_with "MIRROR SUITE". Of the system's configuration it
# keeps the settings for downloading (proxies and the like); signatures are always checked.
apt_with() {
  local keys=/usr/share/keyrings/debian-archive-keyring apt=$tmp/apt
  if [[ -e $keys.pgp ]]; then keys=$keys.pgp; else keys=$keys.gpg; fi
  [[ -e $keys ]] || die "Debian's signing keys are missing. As root: apt-get install debian-archive-keyring"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial"
  echo "deb [signed-by=$keys arch=amd64 target=Packages] $1 main" >"$apt/sources.list"
  {
    env -u APT_CONFIG apt-config dump | grep '^Acquire::'
    printf '%s "%s";\n' Dir::Etc::Main /dev/null Dir::Etc::Parts /dev/null Dir::Etc::SourceParts /dev/null \
      Dir::Etc::Preferences /dev/null Dir::Etc::PreferencesParts /dev/null Dir::Etc::SourceList "$apt/sources.list" \
      Dir::State "$apt" Dir::Cache "$apt" APT::Architecture amd64 APT::Sandbox::User root \
      Acquire::AllowInsecureRepositories false Acquire::AllowWeakRepositories false
  } >"$apt/apt.conf"
  export APT_CONFIG=$apt/apt.conf
}

# Downloads and unpacks a source package; sets $tree.
fetch() {
  local name mirror site version generic=http://deb.debian.org/debian
  command -v apt-get >/dev/null || die 'there is no apt here: name an unpacked kernel source tree with --source'
  name=$(known_to_apt)
  # shellcheck disable=SC2016 # apt expands it
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '^http.*/debian/*$' || true)
  for site in {"${mirror:-$generic}",$generic}' '{trixie-backports,sid}; do
    if [[ -n $name ]]; then break; else apt_with "$site"; fi
    ! run "asking Debian's ${site#* } for kernel sources" apt-get update || name=$(known_to_apt)
  done
  [[ -n $name ]] || failed "apt does not find ${package:-a linux-source package of $oldest or later}"
  must "downloading $name" env -C "$tmp" apt-get download "$name"
  version=$(dpkg-deb --field "$tmp/$name"_*.deb Version)
  say "unpacking $name, version $version"
  must 'unpacking the package' dpkg-deb -x "$tmp/$name"_*.deb "$tmp/deb"
  must 'unpacking the sources' tar -xf "$tmp/deb/usr/src/$name.tar.xz" -C "$tmp"
  tree=$cache/${name}_${version//[!0-9a-z.-]/-} # make has its own ideas about ~ and + in a path
  mv -T "$tmp/$name" "$tree"
  rm -rf "$tmp/deb" "$tmp"/*.deb
}

# Names the tools that are missing, and the command that installs them.
check_tools() {
  local cc=${CROSS_COMPILE-}gcc missing=() tool
  for tool in gcc "$cc:$cc" make flex bison bc perl tar xz:xz-utils gzip flock:util-linux; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
  done
  for tool in stdlib.h:libc6-dev gelf.h:libelf-dev openssl/ssl.h:libssl-dev; do
    echo "#include <${tool%:*}>" | gcc -E - >/dev/null 2>&1 || missing+=("${tool#*:}")
  done
  [[ ${#missing[@]} = 0 ]] || die "building a kernel needs more tools. As root: apt-get install ${missing[*]}"
  [[ $("$cc" -dumpmachine) == x86_64-* ]] || die "$cc does not compile for x86-64: set CROSS_COMPILE"
}

# Compiles $tree into an image, which gets its name when it is complete: build IMAGE.
build() {
  local out=$cache/building-${1##*/bzImage-} missing=() option
  local make=(make -C "$tree" O="$out" ARCH=x86_64 KBUILD_BUILD_USER=vfio-dmabuf KBUILD_BUILD_HOST=localhost)
  mkdir -p "$out"
  must 'making a small configuration' "${make[@]}" tinyconfig
  must 'merging kernel.config' "$tree/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" "$options"
  must 'completing the configuration' "${make[@]}" olddefconfig
  while read -r option; do
    grep -qxF "$option" "$out/.config" || missing+=("${option%=y}")
  done < <(grep '^CONFIG_.*=y$' "$options")
  [[ ${#missing[@]} = 0 ]] || say "not available in this kernel: ${missing[*]}"
  ! grep -qsx 'config VFIO_PCI_DMABUF' "$tree/drivers/vfio/pci/Kconfig" || vital+=' VFIO_PCI_DMABUF'
  for option in $vital; do
    grep -qx "CONFIG_$option=y" "$out/.config" || die "CONFIG_$option is off, and the tests need it: see $out/.config"
  done
  must 'compiling Linux' "${make[@]}" -j "$(nproc)" bzImage
  mv "$out/arch/x86/boot/bzImage" "$1" && rm -rf "$out"
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --source) source=$(realpath -e -- "${2-}") || exit 2; shift ;;
    --package) package=${2-}; [[ $package =~ ^linux-source-[0-9.]+$ ]] || die "not a kernel source package: $package"; shift ;;
    --check) check=yes ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
  esac
  shift
done
[[ -z $source || -z $package ]] || die '--source and --package exclude each other'
[[ $cache$source != *[[:space:]:]* ]] || die "a kernel cannot be built in a path with a space or a colon: $cache $source"
if ! find_image; then
  [[ -z $check ]] || die 'there is no image yet'
  check_tools
  mkdir -p "$cache" && exec 9>"$cache/lock"
  flock -n 9 || { say 'waiting for another build to end'; flock 9; }
  trap 'exec 2>/dev/null; [[ -z $job ]] || { kill $job; wait $job; } || :; rm -rf "$tmp"' EXIT
  trap 'exit 130' INT TERM HUP
  if ! find_image; then
    : >"$log" && rm -rf "$tmp" && mkdir -m 700 "$tmp"
    tree=${source:-$(compgen -G "$cache/linux-source-*_*" | newest || true)}
    if [[ -z $tree ]]; then fetch; fi
    build "${image:=$cache/bzImage-${tree##*/}-$hash}"
  fi
fi
printf '%s\n' "$image"
