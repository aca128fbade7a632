"""Gin files and bindings -> plain values. The door to everything gin.

Gin's own front end skips or misreports most mistakes, so we walk the
statements ourselves: `gin_files` finds files, `gin_reader` remembers where each
binding stands and checks it, `gin_values` replaces every `@reference` by the
bare function with its bindings applied, `gin_operative` writes the outcome
down. What leaves here, a `Setup`, no longer depends on gin's global state.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gin

from multinerf import errors, models
from multinerf.config import (
  externals,
  gin_dialect,
  gin_operative,
  gin_reader,
  gin_values,
  schema,
)

# In the order of --help; MLP is the base of the other two, which Zip-NeRF's
# files name.
MODEL_CLASSES: Mapping[str, type] = {
  name: getattr(models, name)
  for name in ('Model', 'NerfMLP', 'PropMLP', 'MLP', 'HashEncoding')
}
_OF_CONFIG = re.compile(r'(# )?Config\.')
_ADDRESS = re.compile(r' at 0x[0-9a-fA-F]+')


@dataclasses.dataclass(frozen=True)
class Setup:
  """Everything that gin files and bindings say, as plain values.

  Attributes:
    config: The options outside the model.
    scope: 'train' or 'eval'.
    config_str: All bindings of all scopes, as gin text; macros are kept.
    operative_config_str: Every value in effect in this scope, defaults
      included, as gin text that reproduces this setup when loaded.
    family: What kind of model it is, see `gin_dialect`.
    model_fields: Constructor arguments of Model and of its parts.
    classes: The classes of these names.
  """

  config: schema.Config
  scope: str
  config_str: str
  operative_config_str: str
  family: str
  model_fields: Mapping[str, Mapping[str, Any]]
  classes: Mapping[str, type]

  @property
  def model_text(self) -> str:
    """`operative_config_str` without `Config`: what the model computes.

    Equal in every process that loads the same configuration.
    """
    lines = self.operative_config_str.splitlines()
    kept = [line for line in lines if not _OF_CONFIG.match(line)]
    # What gin has no text for is shown by its repr.
    return _ADDRESS.sub('', '\n'.join(kept))

  def build_model(self) -> Any:
    """Returns the model, an unbound linen module.

    MultiNeRF's networks are named NerfMLP_0 and PropMLP_0, Zip-NeRF's MLP_<i>
    and grid_<i>, which fixes the parameter paths that checkpoints and
    `Config.weight_decay_mults` use.

    Raises:
      ConfigError: The constructor refuses the values, or they cannot work
        (`models.check_options`).
    """
    fields = self.model_fields
    is_zipnerf = self.family == gin_dialect.ZIPNERF
    try:
      parts = {} if is_zipnerf else self._networks()
      model = self.classes['Model'](**(parts | dict(fields['Model'])))
    except (TypeError, ValueError) as e:
      raise errors.ConfigError(f'Cannot build the model: {e}') from e
    models.check_options(model)
    return model

  def _networks(self):
    return {
      option: self.classes[name](name=f'{name}_0', **self.model_fields[name])
      for option, name in [('nerf_mlp', 'NerfMLP'), ('prop_mlp', 'PropMLP')]
    }


def load(
  configs: Sequence[str] | str = (),
  bindings: Sequence[str] | str = (),
  *,
  scope: str = 'train',
  safe: bool = False,
  classes: Mapping[str, type] = MODEL_CLASSES,
) -> Setup:
  """Reads gin files, then bindings; the last value of an option counts.

  Forgets everything that gin knew from earlier calls.

  Args:
    configs: Names or paths of .gin files, see `gin_files.resolve`.
    bindings: Gin statements, e.g. 'Config.batch_size = 4096'.
    scope: 'train', or 'eval' for evaluation and rendering: bindings such as
      `eval/Config.render_chunk_size = 4096` hold in their scope only.
    safe: For files of strangers, see `gin_reader.Reader`; gin files are code
      otherwise.
    classes: Classes to register as Model, NerfMLP, PropMLP, MLP, and others.

  Raises:
    ConfigError: Anything wrong: a file, the syntax, a name, a type, a range.
      One line, with the file and line number where they are known.
  """
  try:
    return _load(configs, bindings, scope, safe, classes)
  except RecursionError as e:
    raise errors.ConfigError(
      'A gin file or binding holds a value that is nested too deeply.'
    ) from e


def _load(configs, bindings, scope, safe, classes) -> Setup:
  """See `load`."""
  if scope not in gin_reader.SCOPES:
    raise errors.ConfigError(
      f'Unknown scope {scope!r}; known: {", ".join(gin_reader.SCOPES)}.'
    )
  gin.clear_config()
  _register({'Config': schema.Config, **classes})
  reader = gin_reader.Reader(tuple({'Config': 0, **classes}), safe=safe)
  for name in [configs] if isinstance(configs, str) else configs:
    reader.read_file(name, beside=None, chain=())
  for text in [bindings] if isinstance(bindings, str) else bindings:
    reader.read_text(text, '--gin_bindings', chain=())
  reader.check()
  family = gin_dialect.find(reader.bound())
  gin_dialect.fill_defaults(family, reader.bound())
  built = ('Model', *gin_dialect.PARTS[family])
  with gin.config_scope([scope]):
    config = schema.Config(**gin_values.fields_of('Config'))
    config_str = gin.config_str()
    _share_compute_dtype(config, classes)
    model_fields = {name: gin_values.fields_of(name) for name in built}
    if family == gin_dialect.ZIPNERF:
      _expand_levels(model_fields, classes)
    operative = gin_operative.operative_text(
      {'Config': schema.Config, **{name: classes[name] for name in built}},
      reader.imports,
      omit={'Model': gin_dialect.foreign_options(family)},
    )
  try:
    gin.finalize()
  except (ValueError, RuntimeError) as e:
    raise errors.ConfigError(gin_reader.one_line(e)) from e
  return Setup(
    config=config,
    scope=scope,
    config_str=config_str,
    operative_config_str=operative,
    family=family,
    model_fields=model_fields,
    classes=classes,
  )


def _register(classes: Mapping[str, type]) -> None:
  """Makes classes and externals known to gin, once each."""
  wanted = {f'multinerf.{name}': cls for name, cls in classes.items()}
  wanted |= externals.table()
  with gin.config.interactive_mode():  # Allows another class of that name.
    for selector, target in wanted.items():
      known = gin_values.lookup(selector)
      if known is not None and known.wrapped is target:
        continue
      module, name = selector.rsplit('.', 1)
      hidden: list[str] = []
      if dataclasses.is_dataclass(target):
        hidden = [f.name for f in dataclasses.fields(target)]
      gin.external_configurable(
        target,
        name=name,
        module=module,
        denylist=[n for n in hidden if n in gin_values.HIDDEN] or None,
      )


def _expand_levels(
  fields: dict[str, dict[str, Any]], classes: Mapping[str, type]
) -> None:
  """Puts what is bound to MLP and HashEncoding into each level's options."""
  model = fields['Model']
  defaults = {f.name: f.default for f in dataclasses.fields(classes['Model'])}
  for name, option in [
    ('MLP', 'mlp_params_per_level'),
    ('HashEncoding', 'grid_params_per_level'),
  ]:
    entries = model.get(option, defaults[option])
    model[option] = gin_dialect.level_params(name, fields[name], entries)


def _share_compute_dtype(
  config: schema.Config, classes: Mapping[str, type]
) -> None:
  """Makes Config.compute_dtype that of the networks, unless they have one."""
  for name in {'NerfMLP', 'PropMLP', 'MLP'} & set(classes):
    bound = gin.get_bindings(f'multinerf.{name}', resolve_references=False)
    names = gin_values.option_names(classes[name])
    if 'compute_dtype' in names and 'compute_dtype' not in bound:
      gin.bind_parameter(
        f'multinerf.{name}.compute_dtype', config.compute_dtype
      )
