//! The template and the functions' packages, ready to be uploaded to the local AWS.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use crate::package::{FUNCTIONS, Package, Profile, build_functions};
use crate::progress::Progress;
use crate::template::Template;
use crate::workspace::Workspace;

/// The bucket for packages and templates. Only the local AWS has it: on AWS, `sam deploy` provides one.
const BUCKET: &str = "aura-local-packages";

/// The template and the functions that it refers to. A bundle is cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The template, with local paths.
    pub template: Template,
    /// The functions.
    pub packages: Arc<[Package]>,
}

impl Bundle {
    /// Builds the functions and reads the template.
    ///
    /// # Errors
    ///
    /// The functions don't compile, or a file can't be read.
    pub async fn build(
        workspace: &Workspace,
        profile: Profile,
        progress: Progress,
    ) -> Result<Self> {
        let packages = build_functions(workspace, profile, &FUNCTIONS, progress).await?;
        Ok(Self {
            template: Template::read(&workspace.template())?,
            packages: packages.into(),
        })
    }

    /// The part of a request to `aws.py` that lists what to upload.
    pub(crate) fn upload(&self) -> Result<Value> {
        let path = |package: &Package| (key(package), json!(package.zip));
        Ok(json!({
            "packages": Value::Object(self.packages.iter().map(path).collect()),
            "template": self.packaged()?,
            "bucket": BUCKET,
        }))
    }

    fn packaged(&self) -> Result<String> {
        let uri = |package: &Package| (package.function, format!("s3://{BUCKET}/{}", key(package)));
        self.template
            .packaged(&self.packages.iter().map(uri).collect::<BTreeMap<_, _>>())
    }
}

/// The object key of a package. It changes with the content, because CloudFormation updates a function
/// only when its URI changes.
fn key(package: &Package) -> String {
    format!("{}-{}.zip", package.function, package.version)
}

#[cfg(test)]
mod tests {
    use crate::folder::RunFolder;

    use super::*;

    #[test]
    fn another_binary_is_another_uri() {
        let folder = Arc::new(RunFolder::create(&Workspace::here().unwrap()).unwrap());
        let packaged = |version: &str| {
            let package = Package {
                function: "ingest",
                zip: "ingest.zip".into(),
                bytes: 0,
                version: version.to_owned(),
                folder: Arc::clone(&folder),
            };
            let text = "BuildProperties: {Binary: ingest}\nCodeUri: .\n";
            let template = Template::from_text(text.to_owned());
            Bundle {
                template,
                packages: [package].into(),
            }
            .packaged()
            .unwrap()
        };
        assert_ne!(packaged("a"), packaged("b"));
        assert!(packaged("a").contains("s3://aura-local-packages/ingest-a.zip"));
    }
}
