"""What training carries from step to step; everything else is a constant.

With the seed inside, a step is a function of (state, batch), and the batch a
function of (seed, step): an interrupted run continues as if nothing happened.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from multinerf import losses


@flax.struct.dataclass
class TrainState:
  """The replicated state of training.

  Attributes:
    step: int32, updates made so far.
    params: {'params': {network: {layer: ...}}}, as linen's `init` returns it.
    opt_state: The optimiser's state.
    seed: uint32 that parameters and all random numbers follow from; changed by
      a restart of a collapsed field.
    nonfinite_steps: int32, latest consecutive steps with non-finite gradients.
    loss_state: What the data loss remembers (`losses.StatefulDataLoss`); {} for
      most. In MultiNeRF it was a variable of the loop, forgotten on resume.
  """

  step: Any
  params: Any
  opt_state: Any
  seed: Any
  nonfinite_steps: Any
  loss_state: Any = flax.struct.field(default_factory=dict)


def create(
  model: Any,
  optimizer: optax.GradientTransformation,
  rays: Any,
  seed: int,
  loss_cfg: losses.LossConfig | None = None,
) -> TrainState:
  """Initialises parameters and optimiser from the seed alone.

  Args:
    model: The linen module.
    optimizer: From `optim.make_optimizer`.
    rays: A few rays of the shape and fields that training uses.
    seed: Any 32-bit number.
    loss_cfg: Names the data loss; None: one that remembers nothing.
  """
  # fold_in keeps initialisation apart from the steps' keys (fold_in(step)).
  key = jax.random.fold_in(jax.random.key(seed), 2**32 - 1)

  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rays)

  # Compiling twenty random generators with optimisation takes six times
  # longer than without, and they run once.
  @functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0}
  )
  def init(key):
    # `lazy_init` leaves the forward pass out of the program, which would take
    # longer to compile than everything else in it.
    params = {'params': model.lazy_init(key, None, shapes)['params']}
    return params, optimizer.init(params)

  params, opt_state = init(key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=opt_state,
    seed=jnp.asarray(seed, jnp.uint32),
    nonfinite_steps=jnp.zeros((), jnp.int32),
    loss_state=losses.init_data_loss_state(loss_cfg) if loss_cfg else {},
  )


def num_params(state: TrainState) -> int:
  """How many numbers are being optimised."""
  return sum(int(x.size) for x in jax.tree.leaves(state.params))
