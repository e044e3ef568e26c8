//! What can be chosen by name: data sets, networks, activations, types of numbers.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// An enum whose values have names, the same on the command line and in files.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $setting:literal, $($(#[$variant_doc:meta])* $variant:ident = $name:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $name)] $variant),+
        }

        impl $type {
            /// All values.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The name used on the command line and in files.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl FromStr for $type {
            type Err = TrainError;

            fn from_str(name: &str) -> Result<Self, TrainError> {
                let found = Self::ALL.iter().find(|value| value.as_str() == name);
                found.copied().ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    let problem = format!("unknown `{name}`, known: {}", known.join(", "));
                    TrainError::Config { name: $setting, problem }
                })
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named!(
    /// A labelled image set.
    DatasetName,
    "dataset",
    /// MNIST: 28 x 28 grey digits, ten classes.
    Mnist = "mnist",
    /// CIFAR-10: 32 x 32 colour photographs, ten classes.
    Cifar10 = "cifar10"
);

named!(
    /// A network.
    ModelName,
    "model",
    /// LeNet-5 for 28 x 28 grey images.
    LeNet5 = "lenet5",
    /// AlexNet for 32 x 32 colour images.
    AlexNetCifar = "alexnet-cifar",
    /// Three residual blocks for 32 x 32 colour images.
    ResNet8 = "resnet8"
);

named!(
    /// What stands behind every BatchNorm.
    ActivationName,
    "activation",
    /// max(0, t): for teachers.
    Relu = "relu",
    /// A polynomial on a fixed interval: for private inference.
    Polynomial = "polynomial"
);

named!(
    /// How matrices and kernels are stored; vectors are always f32.
    WeightsType,
    "weights-type",
    /// 32 bits.
    F32 = "f32",
    /// IEEE half precision, rounded to nearest.
    F16 = "f16",
    /// The upper half of f32, rounded to nearest.
    Bf16 = "bf16"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for &name in ModelName::ALL {
            assert_eq!(name.as_str().parse::<ModelName>().unwrap(), name);
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
        assert_eq!("cifar10".parse::<DatasetName>().unwrap().as_str(), "cifar10");
        assert_eq!("relu".parse::<ActivationName>().unwrap(), ActivationName::Relu);
        let message = "vgg".parse::<ModelName>().unwrap_err().to_string();
        assert!(message.contains("model") && message.contains("alexnet-cifar"), "{message}");
    }
}
