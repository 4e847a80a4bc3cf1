"""The only place that opens files from outside: each format with limits on size, depth and count,
checked before anything is allocated.

Every function raises `PallasError` with one sentence and nothing else. A pipe or a device is
refused instead of waited for.

- `opening`: bytes and text of a regular file.
- `npz`: arrays without pickles.
- `yaml_text`, `json_text`, `xml_text`: documents.
- `urdf`: robot descriptions; `mesh`: what they refer to.
- `weights`: safetensors.
- `settings`: a mapping into a typed dataclass.

Below everything else: it imports the errors only, so that any part may use it.
"""
