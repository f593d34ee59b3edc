/**
 * What the image is made of, as CycloneDX: what is in the one file, the base by its digest, and the packages that the
 * base's own package manager knows. Asks the builder for nothing; tools/image.mjs does.
 */

/** A base without a digest could be another one tomorrow. */
const PINNED = /^(.+)@(sha256:[0-9a-f]{64})$/;

export function isPinned(reference) {
  return PINNED.test(reference);
}

/**
 * `base` is pinned; `status` and `release` are the texts of /var/lib/dpkg/status and /etc/os-release in what the one
 * file lies on, or undefined: then the base stands there by its digest alone.
 */
export function bomOfImage({ oneFile, base, status, release, platform, version }) {
  const [, architecture] = platform.split('/');
  const program = { ...oneFile.metadata.component, 'bom-ref': 'one-file' };
  const packages = status === undefined ? [] : packagesOf(status, release ?? '');
  const parts = [program, baseOf(base), ...packages];
  const image = {
    'bom-ref': 'image',
    type: 'container',
    name: 'taskcluster-proxy',
    version,
    purl: `pkg:docker/taskcluster-proxy@${version}?arch=${architecture}`,
  };
  const own = oneFile.metadata.component['bom-ref'];
  const renamed = (ref) => (ref === own ? 'one-file' : ref);
  return {
    ...oneFile,
    serialNumber: undefined,
    metadata: { ...oneFile.metadata, component: image },
    components: [...parts, ...oneFile.components],
    dependencies: [
      { ref: 'image', dependsOn: parts.map((part) => part['bom-ref']) },
      ...oneFile.dependencies.map(({ ref, ...rest }) => ({ ref: renamed(ref), ...rest })),
    ],
  };
}

function baseOf(reference) {
  const [, image, digest] = PINNED.exec(reference);
  const [, name, tag] = /^(.*?)(?::([^:/]+))?$/.exec(image);
  const [last] = name.split('/').slice(-1);
  return {
    'bom-ref': 'base',
    type: 'container',
    name,
    version: digest,
    purl: `pkg:oci/${last}@${encodeURIComponent(digest)}${tag === undefined ? '' : `?tag=${tag}`}`,
    hashes: [{ alg: 'SHA-256', content: digest.replace('sha256:', '') }],
  };
}

/** The installed packages: Debian keeps an entry of a removed one. */
function packagesOf(status, release) {
  const [id, version] = ['ID', 'VERSION_ID'].map((name) => fieldOf(release, name, '='));
  const distribution = version === undefined ? '' : `&distro=${id}-${version}`;
  return status
    .split(/\n\n+/)
    .filter((entry) => fieldOf(entry, 'Status', ': ')?.endsWith(' installed'))
    .map((entry) => {
      const [name, own, architecture] = ['Package', 'Version', 'Architecture'].map((field) =>
        fieldOf(entry, field, ': '),
      );
      const where = `pkg:deb/${id ?? 'debian'}/${encodeURIComponent(name)}`;
      const purl = `${where}@${encodeURIComponent(own)}?arch=${architecture}${distribution}`;
      return { 'bom-ref': purl, type: 'library', name, version: own, purl };
    });
}

function fieldOf(text, name, separator) {
  const line = text.split('\n').find((each) => each.startsWith(`${name}${separator}`));
  return line?.slice(name.length + separator.length).replaceAll('"', '');
}
