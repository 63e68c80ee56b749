//! What a deployment is made of: the template and the functions' packages, and their way into the
//! local AWS.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::create_bucket::CreateBucketError;
use aws_sdk_s3::primitives::ByteStream;

use crate::account::Account;
use crate::package::{FUNCTIONS, Package, Profile, build_functions};
use crate::progress::Progress;
use crate::template::Template;
use crate::workspace::Workspace;

/// The bucket that packages and templates are uploaded to. It is the local AWS's own: on AWS,
/// `sam deploy` brings one. Bucket names are shared by all accounts, so it carries the account's.
fn bucket_of(account: &Account) -> String {
    format!("aura-local-packages-{}", account.id())
}

/// The template and all that it refers to. Cheap to clone.
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
        Self::build_of(
            workspace,
            &workspace.template(),
            &FUNCTIONS,
            profile,
            progress,
        )
        .await
    }

    /// The same of another template and its functions, which are binaries of this workspace.
    ///
    /// # Errors
    ///
    /// As for [`Self::build`].
    pub async fn build_of(
        workspace: &Workspace,
        template: &Path,
        functions: &[&'static str],
        profile: Profile,
        progress: Progress,
    ) -> Result<Self> {
        let packages = build_functions(workspace, profile, functions, progress).await?;
        Ok(Self {
            template: Template::read(template)?,
            packages: packages.into(),
        })
    }

    /// Uploads everything, and returns the URL of the packaged template. By URL, because
    /// CloudFormation takes no more than 51,200 bytes of template in a call.
    pub async fn upload(&self, account: &Account) -> Result<String> {
        let bucket = bucket_of(account);
        let template = self.packaged(&bucket)?;
        let store = Store::open(account, bucket).await?;
        for package in self.packages.iter() {
            store.put_once(&key(package), &package.zip).await?;
        }
        store.put("template.yaml", template.into_bytes()).await?;
        Ok(format!(
            "{}/{}/template.yaml",
            account.endpoint(),
            store.bucket
        ))
    }

    fn packaged(&self, bucket: &str) -> Result<String> {
        let uri = |package: &Package| (package.function, format!("s3://{bucket}/{}", key(package)));
        self.template
            .packaged(&self.packages.iter().map(uri).collect::<BTreeMap<_, _>>())
    }
}

/// A name that changes with the content: CloudFormation updates a function when its URI changes.
fn key(package: &Package) -> String {
    format!("{}-{}.zip", package.function, package.version)
}

/// The bucket.
struct Store {
    client: Client,
    bucket: String,
}

impl Store {
    async fn open(account: &Account, bucket: String) -> Result<Self> {
        let client = account.s3();
        let created = client.create_bucket().bucket(&bucket).send().await;
        if let Err(error) = created
            && !error
                .as_service_error()
                .is_some_and(CreateBucketError::is_bucket_already_owned_by_you)
        {
            return Err(error).context("cannot create the bucket for packages");
        }
        Ok(Self { client, bucket })
    }

    /// Uploads what isn't there yet. The key names the content.
    async fn put_once(&self, key: &str, content: &[u8]) -> Result<()> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        if head.is_ok() {
            return Ok(());
        }
        self.put(key, content.to_vec()).await
    }

    async fn put(&self, key: &str, content: Vec<u8>) -> Result<()> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(ByteStream::from(content))
            .customize()
            // Nor a digest for the signature, for the same reason as no checksum: see the client.
            .disable_payload_signing()
            .send()
            .await
            .with_context(|| format!("cannot upload {key}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_binary_is_another_uri() {
        let packaged = |version: &str| {
            let package = Package {
                function: "ingest",
                zip: Vec::new(),
                version: version.to_owned(),
            };
            let text = "BuildProperties: {Binary: ingest}\nCodeUri: .\n";
            let template = Template::from_text(text.to_owned());
            Bundle {
                template,
                packages: [package].into(),
            }
            .packaged("bucket")
            .unwrap()
        };
        assert_ne!(packaged("a"), packaged("b"));
        assert!(packaged("a").contains("s3://bucket/ingest-a.zip"));
    }
}
