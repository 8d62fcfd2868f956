#!/bin/sh
# An environment for the tests of networks from other libraries: sh tests/foreign/install.sh [FOLDER]
# These libraries are no extra of permgrad: their pins disagree with ours and with each other, so that each comes without
# what it asks for, and what its networks need is named here. torchvision from PyPI is built for CUDA; its operators do
# not load beside a torch for processors, and networks.py declares the two that its import asks for.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-.venv-foreign}
python=${PYTHON:-python3}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet install"
torch=$(sed -n 's/^torch==//p' constraints.txt)
$pip "torch==${torch%%+*}"
$pip -c constraints.txt -e . pytest pytest-timeout hypothesis captum shap shapiq
$pip einops pyyaml huggingface_hub tokenizers regex torchmetrics gensim spacy opencv-python-headless fastparquet
$pip --no-deps pytorch-widedeep==1.7.0 rtdl_revisiting_models==0.0.2 rtdl_num_embeddings==0.0.12 tabm==0.0.3 \
    transformers==5.23.0 monai==1.6.1 timm==1.0.31 vit-pytorch==1.26.11 torchvision==0.29.2 \
    pytorch-forecasting==1.8.0 lightning==2.6.6 lightning-utilities==0.15.3 scikit-base==1.2.0
