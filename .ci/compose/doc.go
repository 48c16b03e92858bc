// Package compose holds deploy/compose to the Compose specification, as Docker's own loader reads it.
package compose
