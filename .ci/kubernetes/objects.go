// Package kubernetes holds the Helm chart of deploy/helm to what a cluster would say to it: objects are
// decoded strictly and validated by Kubernetes' own code, in this process.
package kubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	strict "sigs.k8s.io/yaml"
)

// Decode decodes a stream of YAML documents. A field that does not exist, or is there twice, is an
// error; so is a kind that is not known here.
func Decode(text []byte) ([]runtime.Object, error) {
	codec := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var objects []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		if kind.Kind == "" && len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		if kind.APIVersion == monitoring.SchemeGroupVersion.String() && kind.Kind == monitoring.PodMonitorsKind {
			monitor := new(monitoring.PodMonitor)
			if err := strict.UnmarshalStrict(document, monitor); err != nil {
				return nil, fmt.Errorf("decode a %s: %w", kind.Kind, err)
			}
			objects = append(objects, monitor)
			continue
		}
		object, _, err := codec.Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("decode a %s: %w", kind.Kind, err)
		}
		objects = append(objects, object)
	}
}

// Validate gives an object the defaults that the API server gives it, and returns what that server
// would refuse.
func Validate(object runtime.Object) error {
	if _, ok := object.(*monitoring.PodMonitor); ok {
		return nil // its validation is not Kubernetes'
	}
	object = object.DeepCopyObject()
	legacyscheme.Scheme.Default(object)
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	var faults field.ErrorList
	switch o := internal.(type) {
	case *batch.CronJob:
		faults = batchvalidation.ValidateCronJobCreate(o, corevalidation.PodValidationOptions{})
	case *apps.Deployment:
		faults = appsvalidation.ValidateDeployment(o, corevalidation.PodValidationOptions{})
	case *core.ServiceAccount:
		faults = corevalidation.ValidateServiceAccount(o)
	case *core.ConfigMap:
		faults = corevalidation.ValidateConfigMap(o)
	case *core.PersistentVolumeClaim:
		faults = corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.PersistentVolumeClaimSpecValidationOptions{})
	case *networking.NetworkPolicy:
		faults = networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	default:
		return fmt.Errorf("no validation is known for %T", internal)
	}
	return faults.ToAggregate()
}

// PodOf is the template of the object's pods, nil if it has none.
func PodOf(object runtime.Object) *corev1.PodTemplateSpec {
	switch o := object.(type) {
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	}
	return nil
}

// Restricted says what the Pod Security Standard "restricted" has against a pod.
func Restricted(pod *corev1.PodTemplateSpec) error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return fmt.Errorf("make the evaluator: %w", err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		return errors.New(result.ForbiddenDetail())
	}
	return nil
}
