"""Loading of untrusted files: limits on size, depth and count are checked before allocation.

All external files are opened here. Every function raises only `PallasError`, with one sentence. A
pipe or a device is rejected instead of waited for.

- `opening`: bytes and text of a regular file.
- `npz`: arrays without pickles.
- `yaml_text`, `json_text`, `xml_text`: documents.
- `urdf`: robot descriptions; `mesh`: the meshes they refer to.
- `weights`: safetensors.
- `settings`: a mapping into a typed dataclass.

The lowest layer: it imports the errors only, so that any part may use it.
"""
