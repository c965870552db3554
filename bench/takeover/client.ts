/** The program of this benchmark is that of the workflow benchmark. */
import '../workflow/client';
