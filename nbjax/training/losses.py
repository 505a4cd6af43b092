"""Loss and hit of each sample, for one logit or many."""

import jax
import jax.numpy as jnp
import optax


def sample_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of each sample: binary for logits `[N, 1]`, else over classes `[N, C]`; returns `[N]`."""
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels.astype(logits.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def sample_hits(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 where the predicted class is the label, else 0: `[N]`; class 1 is predicted above probability 0.5."""
    predicted = logits[:, 0] > 0 if logits.shape[-1] == 1 else jnp.argmax(logits, axis=-1)
    return (predicted.astype(labels.dtype) == labels).astype(logits.dtype)
