"""The networks of the three papers, and how to look inside any network."""

from minilearn.checks import device_of
from minilearn.models.copies import (
    build,
    check_architecture,
    check_training_answers,
    copy_of,
    duplicate,
    thaw,
)
from minilearn.models.images import Network, Normalize, allcnn, cnn, mobilenet_v3, small_cnn
from minilearn.models.inside import (
    activations,
    chain,
    check_layers,
    layer_names,
    uncompiled,
    unwrapped,
)
from minilearn.models.modes import (
    clear_errors,
    evaluation_copy,
    freeze_batch_norm,
    in_mode,
    mode,
    restore,
    tensors_of,
    with_gradients,
)
from minilearn.models.representations import extractor, representation
from minilearn.models.resnets import resnet18, resnet20, resnet50, resnet56
from minilearn.models.sequences import quantile_net, siamese_lstm, tft
from minilearn.models.vae import VAE
