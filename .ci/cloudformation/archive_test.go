package cloudformation

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/awslabs/goformation/v7/cloudformation/iam"
	"github.com/awslabs/goformation/v7/cloudformation/policies"
	"github.com/awslabs/goformation/v7/cloudformation/s3"
	"github.com/awslabs/goformation/v7/cloudformation/sqs"
)

const (
	dir    = "../../deploy/aws/"
	bucket = "fabrikam-archive"
	prefix = "xdr/fabrikam"
	key    = "arn:aws:kms:eu-west-1:123456789012:key/5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"
	issuer = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(dir + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parse(t *testing.T, text string) *Template {
	t.Helper()
	template, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// archive makes the stack with these parameters beside bucket and prefix.
func archive(t *testing.T, parameters map[string]string) *Made {
	t.Helper()
	all := map[string]string{"BucketName": bucket, "Prefix": prefix}
	for name, value := range parameters {
		all[name] = value
	}
	made, err := parse(t, read(t, "archive.yaml")).Make(all)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// get is a resource of the stack.
func get[R any](t *testing.T, made *Made, name string) R {
	t.Helper()
	resource, ok := made.Resources[name].(R)
	if !ok {
		t.Fatalf("%s is a %T", name, made.Resources[name])
	}
	return resource
}

// plain is a value as JSON has it.
func plain(t *testing.T, value any) any {
	t.Helper()
	text, isText := value.(string)
	if !isText {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	var made any
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return made
}

// same compares a value with JSON.
func same(t *testing.T, what string, got any, want string) {
	t.Helper()
	if g, w := plain(t, got), plain(t, want); !reflect.DeepEqual(g, w) {
		b, _ := json.MarshalIndent(g, "", "  ")
		t.Errorf("%s is %s\nwant %s", what, b, want)
	}
}

func TestNamesOfTheTemplate(t *testing.T) {
	if err := parse(t, read(t, "archive.yaml")).Names(); err != nil {
		t.Error(err)
	}
}

// TestPolicies: the policies of the template are those in the files, which the README shows the
// use of without CloudFormation, and what the key needs.
func TestPolicies(t *testing.T) {
	for given, arn := range map[string]string{"": `"[Key.Arn]"`, key: `"` + key + `"`} {
		made := archive(t, map[string]string{"KmsKeyArn": given})
		for name, test := range map[string]struct{ file, key string }{
			"ExporterPolicy": {"exporter-policy.json", `["kms:GenerateDataKey", "kms:Decrypt"]`},
			"ReaderPolicy":   {"reader-policy.json", `"kms:Decrypt"`},
		} {
			document := plain(t, get[*iam.ManagedPolicy](t, made, name).PolicyDocument).(map[string]any)
			statements := document["Statement"].([]any)
			last := len(statements) - 1
			same(t, name+" for the key", statements[last], `{"Sid": "UseTheKey", "Effect": "Allow", "Action": `+test.key+`, "Resource": `+arn+`}`)
			document["Statement"] = statements[:last]
			same(t, name, document, strings.NewReplacer("BUCKET", bucket, "PREFIX", prefix).Replace(read(t, test.file)))
		}
	}
}

func TestBucket(t *testing.T) {
	made := archive(t, nil)
	b := get[*s3.Bucket](t, made, "Bucket")
	if b.AWSCloudFormationDeletionPolicy != policies.DeletionPolicy("Retain") || b.AWSCloudFormationUpdateReplacePolicy != policies.UpdateReplacePolicy("Retain") {
		t.Error("the bucket goes with the stack")
	}
	if *b.BucketName != bucket || b.VersioningConfiguration.Status != "Enabled" || !*b.ObjectLockEnabled {
		t.Errorf("%s is without versions or Object Lock", *b.BucketName)
	}
	same(t, "the lock", b.ObjectLockConfiguration, `{"ObjectLockEnabled": "Enabled"}`)
	same(t, "the encryption", b.BucketEncryption, `{"ServerSideEncryptionConfiguration": [
		{"BucketKeyEnabled": true, "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "[Key.Arn]"}}]}`)
	same(t, "public access", b.PublicAccessBlockConfiguration, `{"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true}`)
	same(t, "the notification", b.NotificationConfiguration, `{"QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": "[Queue.Arn]",
		"Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": "xdr/fabrikam/incidents/"}]}}}]}`)
	same(t, "the bucket's policy", get[*s3.BucketPolicy](t, made, "BucketPolicy").PolicyDocument, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "OverTLSOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}},
		 "Resource": ["arn:aws:s3:::fabrikam-archive", "arn:aws:s3:::fabrikam-archive/*"]}]}`)
	same(t, "the queue's policy", get[*sqs.QueuePolicy](t, made, "QueuePolicy").PolicyDocument, strings.NewReplacer("BUCKET", bucket,
		"ACCOUNT", "123456789012", "arn:aws:sqs:REGION:ACCOUNT:incident-exporter", "[Queue.Arn]").Replace(read(t, "queue-policy.json")))
	same(t, "the outputs", made.Outputs, `{"Sink": "s3://fabrikam-archive/xdr/fabrikam", "Region": "eu-west-1", "ExporterPolicyArn": "[ExporterPolicy]",
		"ReaderPolicyArn": "[ReaderPolicy]", "QueueUrl": "[Queue]", "QueueArn": "[Queue.Arn]", "KeyArn": "[Key.Arn]"}`)

	locked := get[*s3.Bucket](t, archive(t, map[string]string{"RetentionMode": "COMPLIANCE", "RetentionDays": "2557"}), "Bucket")
	same(t, "the lock", locked.ObjectLockConfiguration, `{"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 2557}}}`)
}

func TestKey(t *testing.T) {
	made := plain(t, archive(t, nil).Resources["Key"]).(map[string]any)
	if made["DeletionPolicy"] != "Retain" || made["UpdateReplacePolicy"] != "Retain" {
		t.Errorf("the key goes with the stack: %v", made)
	}
	if made := archive(t, map[string]string{"KmsKeyArn": key}); made.Resources["Key"] != nil || made.Outputs["KeyArn"] != key {
		t.Errorf("a key is made beside the one that is given: %v", made.Outputs)
	}
}

func TestRoles(t *testing.T) {
	none := archive(t, nil)
	for _, name := range []string{"IrsaRole", "PodIdentityRole", "PodIdentityAssociation"} {
		if none.Resources[name] != nil {
			t.Errorf("%s is made, and nobody asked", name)
		}
	}
	made := archive(t, map[string]string{"OidcIssuer": issuer, "PodIdentityCluster": "production", "ServiceAccountName": "exporter"})
	for _, name := range []string{"IrsaRole", "PodIdentityRole"} {
		same(t, name, get[*iam.Role](t, made, name).ManagedPolicyArns, `["[ExporterPolicy]"]`)
	}
	same(t, "trust by token", get[*iam.Role](t, made, "IrsaRole").AssumeRolePolicyDocument, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
		"Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/`+issuer+`"}, "Action": "sts:AssumeRoleWithWebIdentity",
		"Condition": {"StringEquals": {"`+issuer+`:aud": "sts.amazonaws.com", "`+issuer+`:sub": "system:serviceaccount:incident-exporter:exporter"}}}]}`)
	same(t, "trust by Pod Identity", get[*iam.Role](t, made, "PodIdentityRole").AssumeRolePolicyDocument, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
		"Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": {"StringEquals": {
			"aws:SourceAccount": "123456789012", "aws:RequestTag/eks-cluster-name": "production",
			"aws:RequestTag/kubernetes-namespace": "incident-exporter", "aws:RequestTag/kubernetes-service-account": "exporter"}}}]}`)
	same(t, "the association", made.Resources["PodIdentityAssociation"], `{"Type": "AWS::EKS::PodIdentityAssociation", "Condition": "HasPodIdentity", "Properties": {
		"ClusterName": "production", "Namespace": "incident-exporter", "ServiceAccount": "exporter", "RoleArn": "[PodIdentityRole.Arn]"}}`)
	if made.Outputs["IrsaRoleArn"] != "[IrsaRole.Arn]" || made.Outputs["PodIdentityRoleArn"] != "[PodIdentityRole.Arn]" {
		t.Errorf("outputs: %v", made.Outputs)
	}
}

// TestParametersAreHeld: what would widen a policy or cannot work is refused before anything is made.
func TestParametersAreHeld(t *testing.T) {
	template := parse(t, read(t, "archive.yaml"))
	for name, values := range map[string][]string{
		"BucketName":         {"", "Upper", "a", "name/x", "*"},
		"Prefix":             {"", "*", "xdr/*", "xdr/", "/xdr", "a//b", "${aws:username}", strings.Repeat("x", 501)},
		"KmsKeyArn":          {"alias/archive", "*"},
		"RetentionMode":      {"governance"},
		"RetentionDays":      {"0", "36501", "seven"},
		"OidcIssuer":         {"https://" + issuer, `x","y`, "*"},
		"ServiceAccountName": {"*", ""},
		"PodIdentityCluster": {"*"},
		"Another":            {""},
	} {
		for _, value := range values {
			parameters := map[string]string{"BucketName": bucket}
			parameters[name] = value
			if _, err := template.Make(parameters); err == nil || !strings.Contains(err.Error(), "parameter "+name) {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
	if _, err := template.Make(nil); err == nil || !strings.Contains(err.Error(), "BucketName is wanted") {
		t.Errorf("without a bucket: %v", err)
	}
}

// TestMistakesAreFound makes mistakes in the template, one at a time.
func TestMistakesAreFound(t *testing.T) {
	whole := read(t, "archive.yaml")
	for name, test := range map[string]struct{ old, new, says string }{
		"property":           {"SqsManagedSseEnabled", "SqsManagedSseEnable", `unknown field "SqsManagedSseEnable"`},
		"nested property":    {"BlockPublicAcls", "BlockPublicAcl", `unknown field "BlockPublicAcl"`},
		"deep property":      {"SSEAlgorithm", "SseAlgorythm", `unknown field "SseAlgorythm"`},
		"attribute":          {"DeletionPolicy", "DeletionPolice", `unknown field "DeletionPolice"`},
		"type of a value":    {"EnableKeyRotation: true", "EnableKeyRotation: sometimes", "cannot unmarshal string"},
		"resource type":      {"AWS::SQS::QueuePolicy", "AWS::SQS::QueuePolice", "there is no type AWS::SQS::QueuePolice"},
		"section":            {"Outputs:", "Output:", `unknown field "Output"`},
		"parameter's member": {"AllowedPattern", "AllowedPatern", `unknown field "AllowedPatern"`},
		"reference":          {"Queues: [!Ref Queue]", "Queues: [!Ref Queu]", "there is no resource Queu"},
		"substitution":       {`"${Prefix}/incidents/"`, `"${Prefiks}/incidents/"`, "there is no resource Prefiks"},
		"GetAtt":             {"!GetAtt Queue.Arn", "!GetAtt Queue.ARN", "has no attribute ARN"},
		"condition":          {"Condition: HasOidc", "Condition: HasOIDC", "there is no condition HasOIDC"},
		"If":                 {"!If [MakeKey,", "!If [MakesKey,", "there is no condition MakesKey"},
		"nothing uses it":    {"{ Mode: !Ref RetentionMode, Days: !Ref RetentionDays }", "{ Mode: !Ref RetentionMode, Days: 1 }", "nothing uses RetentionDays"},
		"DependsOn":          {"DependsOn: QueuePolicy", "DependsOn: QueuesPolicy", "there is no resource QueuesPolicy"},
		"circle":             {`"aws:SourceArn": !Sub "arn:${AWS::Partition}:s3:::${BucketName}"`, `"aws:SourceArn": !GetAtt Bucket.Arn`, "made before the others: [Bucket BucketPolicy QueuePolicy]"},
		"function":           {"!Ref Queue]", "!Reff Queue]", "!Reff is not known"},
		"not made":           {"KMSMasterKeyID: !If [MakeKey, !GetAtt Key.Arn, !Ref KmsKeyArn]", "KMSMasterKeyID: !GetAtt Key.Arn", "Key is not made"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(whole, test.old) {
				t.Fatalf("%q is not in the template", test.old)
			}
			template, err := Parse([]byte(strings.Replace(whole, test.old, test.new, 1)))
			if err == nil {
				err = template.Names()
			}
			if err == nil {
				_, err = template.Make(map[string]string{"BucketName": bucket, "KmsKeyArn": key})
			}
			if err == nil {
				_, err = template.Make(map[string]string{"BucketName": bucket})
			}
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}
