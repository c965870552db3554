/** The house of this benchmark is that of the workflow benchmark. */
import '../workflow/house';
